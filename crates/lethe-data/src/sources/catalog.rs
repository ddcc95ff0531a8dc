//! Public data sets by name: what they are, where they come from, and what their archives hash to.

use serde::Serialize;

/// A public data set; Lethe reads its files but does not download them.
#[derive(Debug, Serialize)]
pub struct Known {
    pub name: &'static str,
    pub classes: u32,
    pub training_images: u32,
    pub test_images: u32,
    /// Images without labels.
    pub unlabelled_images: u32,
    /// Width and height in pixels.
    pub size: u32,
    pub licence: &'static str,
    pub home: &'static str,
    pub archive: &'static str,
    pub archive_bytes: u64,
    pub archive_md5: Option<&'static str>,
    pub archive_sha256: Option<&'static str>,
    /// How its files are passed to `--data`.
    pub pass: &'static str,
}

/// None of the four is published under a licence; their pages ask for citation.
const NO_LICENCE: &str = "none stated; research use, cite the authors";

pub const KNOWN: &[Known] = &[
    Known {
        name: "cifar10",
        classes: 10,
        training_images: 50_000,
        test_images: 10_000,
        unlabelled_images: 0,
        size: 32,
        licence: NO_LICENCE,
        home: "https://www.cs.toronto.edu/~kriz/cifar.html",
        archive: "cifar-10-binary.tar.gz",
        archive_bytes: 170_052_171,
        archive_md5: Some("c32a1d4ab5d03f1284b67883e8d87530"),
        archive_sha256: Some("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        pass: "cifar-10-batches-bin (training), cifar-10-batches-bin/test_batch.bin",
    },
    Known {
        name: "cifar100",
        classes: 100,
        training_images: 50_000,
        test_images: 10_000,
        unlabelled_images: 0,
        size: 32,
        licence: NO_LICENCE,
        home: "https://www.cs.toronto.edu/~kriz/cifar.html",
        archive: "cifar-100-binary.tar.gz",
        archive_bytes: 168_513_733,
        archive_md5: Some("03b5dce01913d631647c71ecec9e9cb8"),
        archive_sha256: Some("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
        pass: "cifar-100-binary (training), cifar-100-binary/test.bin",
    },
    Known {
        name: "stl10",
        classes: 10,
        training_images: 5_000,
        test_images: 8_000,
        unlabelled_images: 100_000,
        size: 96,
        licence: NO_LICENCE,
        home: "https://cs.stanford.edu/~acoates/stl10/",
        archive: "stl10_binary.tar.gz",
        archive_bytes: 2_640_397_119,
        archive_md5: Some("91f7769df0f17e558f3565bffb0c7dfb"),
        archive_sha256: Some("f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"),
        pass: "as an image folder (its binary files are not read yet)",
    },
    Known {
        name: "tiny-imagenet",
        classes: 200,
        training_images: 100_000,
        test_images: 10_000,
        unlabelled_images: 0,
        size: 64,
        licence: NO_LICENCE,
        home: "http://cs231n.stanford.edu/",
        archive: "tiny-imagenet-200.zip",
        archive_bytes: 248_100_043,
        archive_md5: Some("90528d7ca1a48142e341f4ef8d21d0de"),
        archive_sha256: None,
        pass: "tiny-imagenet-200/train",
    },
];
