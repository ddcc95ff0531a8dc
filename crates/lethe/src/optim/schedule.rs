//! The learning rate over a training.

/// Linear warm-up to the base rate, then half a cosine down to zero, both by step.
#[derive(Debug, Clone, Copy)]
pub struct WarmupCosine {
    pub base: f64,
    pub warmup_steps: u64,
    pub total_steps: u64,
}

impl WarmupCosine {
    /// The rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.base * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let left = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = (step - self.warmup_steps) as f64 / left as f64;
        self.base * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()) / 2.0
    }
}
