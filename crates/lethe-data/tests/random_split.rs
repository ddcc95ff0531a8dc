//! Which pairs of specifications are known to be a random split of one set.

use lethe_data::is_random_split;

#[test]
fn ranges_of_one_permutation() {
    let is = |a: &str, b: &str| assert!(is_random_split(a, b) && is_random_split(b, a), "{a} {b}");
    let not = |a: &str, b: &str| assert!(!is_random_split(a, b) && !is_random_split(b, a), "{a} {b}");
    is("photos@n=100,seed=1", "photos@n=50,skip=100,seed=1");
    is("photos@n=100", "photos@skip=100");
    not("photos@n=100", "photos@n=50,skip=99");
    not("photos@n=100,seed=1", "photos@n=50,skip=100,seed=2");
    not("photos@n=100", "others@skip=100");
    not("photos@n=100", "photos");
    not("photos", "photos");
    not("photos/train", "photos/test");
    not("photos@n=100,corrupt=contrast", "photos@skip=100");
}

#[test]
fn generated_images_of_the_same_laws() {
    assert!(is_random_split("shapes:n=100,seed=1", "shapes:n=50,seed=2"));
    assert!(is_random_split("shapes", "shapes:seed=2"));
    assert!(!is_random_split("shapes:seed=1", "shapes:seed=1"), "the same images");
    assert!(!is_random_split("shapes:seed=1,spurious=0.9", "shapes:seed=2,spurious=0"), "other laws");
    assert!(!is_random_split("shapes:seed=1", "shapes:seed=1,split=test"), "a test split breaks a correlation");
}

#[test]
fn training_and_test_files_of_cifar() {
    let folder = tempfile::tempdir().unwrap();
    let record = vec![0u8; 3073];
    for name in ["data_batch_1.bin", "test_batch.bin"] {
        std::fs::write(folder.path().join(name), &record).unwrap();
    }
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let whole = folder.path().to_str().unwrap();
    assert!(is_random_split(whole, &path("test_batch.bin")));
    assert!(is_random_split(&path("test_batch.bin"), &path("data_batch_1.bin")));
    assert!(!is_random_split(whole, &path("data_batch_1.bin")));
    assert!(!is_random_split(whole, whole));
}
