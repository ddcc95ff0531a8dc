"""Random views of both sides by a PyTorch model that Lethe does not know: python views.py TRAIN UNSEEN OUT.npz [WEIGHTS]
TRAIN and UNSEEN are folders with a folder for each class. Needs torch, torchvision, timm and numpy."""
import sys
import numpy as np, timm, torch
from torchvision import datasets, transforms as T

model = timm.create_model("convnext_atto", num_classes=0, checkpoint_path=sys.argv[4] if len(sys.argv) > 4 else "")
end = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
views = T.Compose([T.RandomResizedCrop(224, (0.2, 1.0)), T.RandomHorizontalFlip(), T.ColorJitter(0.4, 0.4, 0.2, 0.1), *end])
plain = T.Compose([T.Resize(256), T.CenterCrop(224), *end])
model.eval()

def features(folder, transform):
    batches = torch.utils.data.DataLoader(datasets.ImageFolder(folder, transform), batch_size=64)
    with torch.inference_mode():
        return torch.cat([model(images) for images, _ in batches]).numpy()

arrays = {}
for side, folder in [("train", sys.argv[1]), ("unseen", sys.argv[2])]:
    torch.manual_seed(0)  # image i of both sides goes through the same draws
    arrays[f"{side}.views.last"] = np.stack([features(folder, views) for _ in range(10)])
    arrays[f"{side}.plain.last"] = features(folder, plain)
np.savez(sys.argv[3], **arrays)
