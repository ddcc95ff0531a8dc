use lethe::nn::Weights;
use lethe::optim::{OPTIMIZERS, WarmupCosine, build, clip_norm};
use tch::{Kind, Tensor};

use crate::golden;

/// Gradients of convolutions may come in channels-last memory format, whatever that of the parameter.
fn as_autograd(gradient: &Tensor) -> Tensor {
    match gradient.dim() {
        4 => gradient.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
        _ => gradient.copy(),
    }
}

#[test]
fn five_steps_are_those_of_the_reference() {
    let golden = golden::load("optim");
    let names = ["a.weight", "b.weight", "b.bias"];
    let rates = [0.1, 0.2, 0.3, 0.2, 0.1];
    for entry in OPTIMIZERS {
        let w: Weights = names
            .iter()
            .map(|name| ((*name).to_owned(), golden.get(&format!("start/{name}")).copy().set_requires_grad(true)))
            .collect();
        let mut optimizer = (entry.build)(1e-2);
        for (step, rate) in rates.into_iter().enumerate() {
            let gradients =
                names.iter().map(|name| as_autograd(golden.get(&format!("gradient{step}/{name}")))).collect();
            optimizer.step(&w, &gradients, rate);
            for name in names {
                let at = format!("{}/step{step}/{name}", entry.name);
                golden::assert_close(&at, w.get(name), golden.get(&at), 1e-12);
            }
            if step == 2 {
                // What a resumed run does: the moments travel through a checkpoint.
                let state = optimizer.state().copy();
                optimizer = (entry.build)(1e-2);
                optimizer.resume(state);
            }
        }
    }
}

#[test]
fn the_rate_warms_up_and_falls_to_zero() {
    let schedule = WarmupCosine { base: 2.0, warmup_steps: 10, total_steps: 110 };
    assert!((schedule.at(0) - 0.2).abs() < 1e-12);
    assert!((schedule.at(9) - 2.0).abs() < 1e-12);
    assert!((schedule.at(60) - 1.0).abs() < 1e-12);
    assert!(schedule.at(109) < 1e-3 && schedule.at(109) > 0.0);
    assert!(schedule.at(200).abs() < 1e-12);
}

#[test]
fn clipping_scales_the_joint_norm_and_leaves_small_gradients() {
    let gradients = vec![Tensor::from_slice(&[3.0f64, 0.0]), Tensor::from_slice(&[0.0f64, 4.0])];
    clip_norm(&gradients, 10.0);
    assert_eq!(gradients[0].double_value(&[0]), 3.0);
    clip_norm(&gradients, 1.0);
    let joint: f64 = gradients.iter().map(|g| g.square().sum(None::<Kind>).double_value(&[])).sum();
    assert!((joint.sqrt() - 1.0).abs() < 1e-5);
}

#[test]
fn an_unknown_optimizer_is_refused_with_the_choices() {
    assert!(build("adagrad", 0.0).err().unwrap().hint.unwrap().contains("sgd, adam, adamw, lars"));
}
