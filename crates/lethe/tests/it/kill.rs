//! kill -9 in the midst of a training, again and again: no checkpoint is lost or half-written, no temporary file stays,
//! and a restart goes on.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lethe::checkpoint;

const SIGKILL: i32 = 9;

/// Longest life of a process before it is killed: enough to load libtorch, resume and train a few epochs.
const LIFE: Duration = Duration::from_millis(900);

/// A training by the real program, which writes into `folder`.
struct Run {
    arguments: Vec<String>,
    folder: PathBuf,
}

impl Run {
    fn new(arguments: &str, folder: PathBuf) -> Self {
        Self { arguments: arguments.split_whitespace().map(str::to_owned).collect(), folder }
    }

    /// Starts it, or goes on with it where there is something to go on with.
    fn spawn(&self) -> Child {
        let resume = self.folder.join("config.toml").exists().then_some("--resume");
        Command::new(env!("CARGO_BIN_EXE_lethe"))
            .args(&self.arguments)
            .arg("--out")
            .arg(&self.folder)
            .args(resume)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The names of all files of the run, below its folder.
    fn files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.folder.clone()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push(entry.path()),
                }
            }
        }
        files
    }

    fn temporary(&self) -> Vec<PathBuf> {
        self.files().into_iter().filter(|path| path.to_string_lossy().contains(".lethe-tmp-")).collect()
    }

    /// The epochs that have a checkpoint; each of them, and its state, must open.
    #[track_caller]
    fn epochs(&self) -> Vec<u32> {
        let mut epochs = Vec::new();
        for path in self.files().into_iter().filter(|path| path.parent().is_some_and(|f| f.ends_with("checkpoints"))) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(".lethe-tmp-") {
                continue;
            }
            if name.ends_with(".state.safetensors") {
                checkpoint::open_state(&path).unwrap_or_else(|error| panic!("after a kill: {error}"));
            } else {
                let read = checkpoint::open(&path).unwrap_or_else(|error| panic!("after a kill: {error}"));
                epochs.push(read.meta.epoch.expect("an epoch"));
            }
        }
        epochs.sort_unstable();
        epochs
    }
}

/// Kills the training `kills` times: every other time at a moment drawn from `seed`, else as soon as a temporary file shows
/// that a save is under way. Gives how many processes were killed with one there.
fn kill_again_and_again(run: &Run, kills: usize, seed: usize) -> usize {
    let mut epochs = Vec::new();
    let mut in_a_save = 0;
    for i in 0..kills {
        let mut child = run.spawn();
        // Multiples of the golden ratio, modulo 1, fill the interval evenly.
        let moment = LIFE.mul_f64(((i + seed) as f64 * 0.618_033_988_75).fract());
        let start = Instant::now();
        while start.elapsed() < LIFE && child.try_wait().unwrap().is_none() {
            let saving =
                run.temporary().iter().any(|path| path.to_string_lossy().contains(&format!("-{}-", child.id())));
            if (i % 2 == 0 && start.elapsed() >= moment) || (i % 2 == 1 && saving) {
                break;
            }
            sleep(Duration::from_micros(200));
        }
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        let ended = (output.status.signal(), output.status.code());
        assert!(
            ended.0 == Some(SIGKILL) || ended.1 == Some(0),
            "start {i} failed by itself: {ended:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(ended.1.is_none(), "the training ended after {i} kills: give it more epochs");
        in_a_save += usize::from(!run.temporary().is_empty());
        let now = run.epochs();
        let lost: Vec<&u32> = epochs.iter().filter(|epoch| !now.contains(epoch)).collect();
        assert!(lost.is_empty(), "kill {i} lost the checkpoints of the epochs {lost:?}");
        epochs = now;
    }
    in_a_save
}

/// Lets the training go on until it has saved once more, and ends it.
fn restart_once(run: &Run) {
    let before = run.epochs();
    let mut child = run.spawn();
    let start = Instant::now();
    while run.epochs() == before && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "a restart makes no progress");
        sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    child.wait().unwrap();
    assert!(run.epochs().last() > before.last(), "a restart goes on where the run was cut off");
}

#[test]
#[ignore = "needs `lethe pretrain`"]
fn killing_a_training_a_hundred_times_loses_nothing() {
    const ARGUMENTS: &str = "pretrain --method simclr --data shapes:n=64,size=32 --encoder resnet18-w4 --epochs 100000 \
                             --batch-size 32 --save-every 1 --threads 1";
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let folder: &Path = folder.path();
            scope.spawn(move || {
                let run = Run::new(ARGUMENTS, folder.join(format!("run{half}")));
                let in_a_save = kill_again_and_again(&run, 50, half);
                restart_once(&run);
                assert_eq!(run.temporary(), Vec::<PathBuf>::new(), "a restart sweeps");
                println!("{in_a_save} of 50 kills left a temporary file; {} checkpoints", run.epochs().len());
                assert!(in_a_save >= 5, "only {in_a_save} of 50 kills fell into a save");
            });
        }
    });
}
