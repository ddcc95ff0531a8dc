//! kill -9 in the midst of a training, again and again: no checkpoint is lost or half-written, no temporary file stays,
//! and a restart goes on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lethe::checkpoint;

use crate::support::small_head;

const SIGKILL: i32 = 9;

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
        let mut program = Command::new(env!("CARGO_BIN_EXE_lethe"));
        match self.folder.join("config.toml").exists() {
            true => program.args(["pretrain", "--resume"]),
            false => program.args(&self.arguments),
        };
        program.arg("--out").arg(&self.folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
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

    /// Whether the process `pid` is writing a checkpoint, or was when it died.
    fn is_saving(&self, pid: u32) -> bool {
        let temporary = format!(".lethe-tmp-{pid}-");
        self.checkpoints().iter().any(|path| path.to_string_lossy().contains(&temporary))
    }

    fn checkpoints(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("checkpoints")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// The checkpoints and states that stand there.
    fn whole(&self) -> BTreeSet<PathBuf> {
        self.checkpoints().into_iter().filter(|path| !path.to_string_lossy().contains(".lethe-tmp-")).collect()
    }
}

#[track_caller]
fn assert_opens(path: &Path) {
    let opened = match path.to_string_lossy().ends_with(".state.safetensors") {
        true => checkpoint::open_state(path).map(drop),
        false => checkpoint::open(path).map(drop),
    };
    opened.unwrap_or_else(|error| panic!("after a kill: {error}"));
}

/// Lets the training go on until it has saved another checkpoint, and kills it. Gives the time that took.
fn goes_on(run: &Run) -> Duration {
    let before = run.whole();
    let mut child = run.spawn();
    let start = Instant::now();
    while run.whole().is_subset(&before) {
        assert!(child.try_wait().unwrap().is_none(), "a restart ends at once: {}", said(child));
        assert!(start.elapsed() < Duration::from_secs(60), "a restart makes no progress");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    start.elapsed()
}

fn said(child: Child) -> String {
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned()
}

/// Longest time from the first save of a process until the save in which it is killed: some files and epochs later.
const AFTER_A_SAVE: Duration = Duration::from_millis(60);

/// Kills the training `kills` times: every other time at a moment between its start and a while after its first save,
/// else in the midst of one of its saves. Gives how many kills fell into a save.
fn kill_again_and_again(run: &Run, kills: usize, seed: usize) -> usize {
    let life = goes_on(run).mul_f64(1.5);
    let mut whole = run.whole();
    let mut in_a_save = 0;
    for i in 0..kills {
        let mut child = run.spawn();
        // Multiples of the golden ratio, modulo 1, fill the interval evenly.
        let moment = ((i + seed) as f64 * 0.618_033_988_75).fract();
        let start = Instant::now();
        // Looking into the folder takes time from the training: often only where the moment counts.
        let until = |holds: &dyn Fn() -> bool, pause: Duration, child: &mut Child| {
            while !holds() && child.try_wait().unwrap().is_none() {
                sleep(pause);
            }
        };
        let (rough, fine) = (Duration::from_millis(5), Duration::from_micros(200));
        if i % 2 == 0 {
            until(&|| start.elapsed() >= life.mul_f64(moment), fine, &mut child);
        } else {
            let pid = child.id();
            let late = || start.elapsed() >= life * 4;
            let before = run.whole().len();
            until(&|| run.whole().len() > before || late(), rough, &mut child);
            sleep(AFTER_A_SAVE.mul_f64(moment));
            until(&|| run.is_saving(pid) || late(), fine, &mut child);
        }
        let _ = child.kill();
        let (pid, status) = (child.id(), child.wait().unwrap());
        assert_eq!(status.signal(), Some(SIGKILL), "start {i} ended by itself: {}", said(child));
        in_a_save += usize::from(run.is_saving(pid));
        let still = run.whole();
        assert!(whole.is_subset(&still), "kill {i} lost {:?}", whole.difference(&still));
        still.difference(&whole).for_each(|path| assert_opens(path));
        whole = still;
    }
    whole.iter().for_each(|path| assert_opens(path));
    in_a_save
}

/// `LETHE_KILLS` is the number of kills, else 100.
#[test]
#[allow(clippy::print_stdout, reason = "figures for a release, shown by --nocapture")]
fn killing_a_training_a_hundred_times_loses_nothing() {
    let kills = std::env::var("LETHE_KILLS").map_or(100, |kills| kills.parse().expect("a number")) / 2;
    // A start reads the states of all checkpoints: small ones, and few steps between them.
    let arguments = format!(
        "pretrain --method simclr --config {} --data shapes:n=8,size=8 --encoder resnet18-w4 --epochs 100000 \
         --batch-size 8 --save-every 1 --threads 1",
        small_head("simclr")
    );
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (folder, arguments): (&Path, &str) = (folder.path(), &arguments);
            scope.spawn(move || {
                let run = Run::new(arguments, folder.join(format!("run{half}")));
                let in_a_save = kill_again_and_again(&run, kills, half);
                println!("{in_a_save} of {kills} kills fell into a save; {} files", run.whole().len());
                assert!(in_a_save >= kills / 5, "only {in_a_save} of {kills} kills fell into a save");
                let leftovers = run.temporary();
                goes_on(&run);
                assert!(leftovers.iter().all(|path| !path.exists()), "a restart sweeps");
            });
        }
    });
}
