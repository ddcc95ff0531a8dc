//! What happens after every step and epoch of a repair: rows are written, held-out images looked at, the best weights and
//! the way to resume kept.

use std::ops::ControlFlow;

use lethe_diagnosis::records::{EpochRow, Kind, Seen, StepRow};
use lethe_measures::Estimate;

use super::monitor::{Judge, Look, Monitor, Verdict, lost};
use super::{EpochEnd, Event, Snapshot, UndoFolder};
use crate::encoders::Encoder;
use crate::error::Result;
use crate::nn::Weights;
use crate::progress;

pub(super) struct Sitting<'a> {
    pub(super) folder: UndoFolder,
    pub(super) first: Option<StepRow>,
    pub(super) last: Option<StepRow>,
    repair: &'static str,
    encoder: &'a dyn Encoder,
    watched: Option<Watched<'a>>,
}

/// With held-out images.
struct Watched<'a> {
    monitor: &'a Monitor,
    base: Look,
    judge: Judge,
    kept: Option<Snapshot>,
    stopped: bool,
}

/// What to keep of a repair that was watched.
pub(super) struct Chosen {
    /// Epochs done, 0 for the given checkpoint.
    pub(super) epoch: u32,
    /// None for the given checkpoint.
    pub(super) snapshot: Option<Snapshot>,
    pub(super) stopped: bool,
}

impl<'a> Sitting<'a> {
    /// Looks at the given weights `base` first; goes on from `saved` where there is something.
    pub(super) fn begin(
        mut folder: UndoFolder,
        repair: &'static str,
        encoder: &'a dyn Encoder,
        base: &Weights,
        monitor: Option<&'a Monitor>,
        saved: Option<(Option<Judge>, Option<Snapshot>, Vec<StepRow>)>,
    ) -> Result<Self> {
        let is_new = saved.is_none();
        let (judge, kept, rows) = saved.unwrap_or_default();
        let watched = match monitor {
            None => None,
            Some(monitor) => {
                let seen = monitor.look(encoder, base)?;
                if is_new {
                    let start = row(repair, (0, 0, 0.0), &seen, lost(&seen, &seen), true);
                    say(&start, &seen.seen, &mut |text| progress::say(text));
                    folder.record(&start)?;
                }
                let judge = judge.unwrap_or_else(|| Judge::new(&seen));
                if judge.blind {
                    progress::say(
                        "warning: the given weights find too few views of unseen images to choose an epoch by: the last one is kept",
                    );
                }
                Some(Watched { monitor, judge, base: seen, kept, stopped: false })
            }
        };
        let (first, last) = (rows.first().cloned(), rows.last().cloned());
        Ok(Self { folder, first, last, repair, encoder, watched })
    }

    pub(super) fn hear(&mut self, event: &Event) -> Result<ControlFlow<()>> {
        match event {
            Event::Step(row) => {
                self.first.get_or_insert_with(|| (*row).clone());
                self.last = Some((*row).clone());
                self.folder.record(row)?;
                Ok(ControlFlow::Continue(()))
            }
            Event::Epoch(end) => self.epoch(end),
        }
    }

    fn epoch(&mut self, end: &EpochEnd) -> Result<ControlFlow<()>> {
        if let Some(watched) = &mut self.watched {
            let seen = watched.monitor.look(self.encoder, &end.now.weights)?;
            let lost = lost(&watched.base, &seen);
            let Verdict { keep, stop } = watched.judge.hear(end.epoch, &seen, &lost);
            if keep {
                watched.kept = Some(Snapshot { weights: end.now.weights.frozen(), head: end.now.head.frozen() });
            }
            let row = row(self.repair, (end.epoch, end.reached.step, end.passes), &seen, lost, keep);
            say(&row, &watched.base.seen, &mut |text| end.progress.say(text));
            self.folder.record(&row)?;
            if stop {
                watched.stopped = true;
                end.progress
                    .say("stopping: view retrieval on unseen images is measurably below that of the start, and falls");
                // Not saved: a resumed repair looks at this epoch again and stops again.
                return Ok(ControlFlow::Break(()));
            }
        }
        let judged = self.watched.as_ref().map(|watched| (&watched.judge, watched.kept.as_ref()));
        self.folder.save_reached(&end.reached, judged)?;
        Ok(ControlFlow::Continue(()))
    }

    /// What to keep; none where nothing was watched.
    pub(super) fn chosen(&mut self) -> Option<Chosen> {
        let watched = self.watched.as_mut()?;
        Some(Chosen { epoch: watched.judge.kept, snapshot: watched.kept.take(), stopped: watched.stopped })
    }
}

fn row(
    repair: &str,
    (epoch, step, passes): (u32, u64, f64),
    look: &Look,
    view_retrieval_lost: Estimate,
    kept: bool,
) -> EpochRow {
    let (repair, seen) = (repair.to_owned(), look.seen.clone());
    EpochRow { kind: Kind::Epoch, epoch, step, repair, passes, seen, view_retrieval_lost, kept }
}

fn say(row: &EpochRow, base: &Seen, to: &mut dyn FnMut(&str)) {
    let Seen { membership, relative_gap, coding_rate_reduction: rate, view_retrieval, .. } = &row.seen;
    let epoch = if row.epoch == 0 { "before".into() } else { format!("after epoch {}", row.epoch) };
    to(&format!(
        "{epoch}: membership {membership:.3} ({:+.3}), relative gap {relative_gap:.3}, dR by pair {:.3} on training and {:.3} on \
         unseen images, view retrieval {:.3}{}",
        membership - base.membership,
        rate.train,
        rate.unseen,
        view_retrieval,
        if row.kept { ", kept" } else { "" }
    ));
}
