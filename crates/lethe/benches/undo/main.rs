//! One outer step of UMM beside one plain step of the same late part: `cargo bench --bench undo`.
//!
//! The plain step is what any training of the late part costs: the early forward pass, the late forward and backward
//! pass. Both end with the gradients; the optimiser is left out. `docs/decisions/0003` holds what was measured, and
//! `examples/step_memory.rs` measures the memory of the same steps.

mod setup;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::nn::Mode;
use lethe::undo::hypergradient::{HYPERGRADIENTS, Product};
use lethe::undo::{self, Batch, Problem, Settings};

fn steps(criterion: &mut Criterion) {
    for (width, batch) in [(16, 64), (16, 256), (64, 64)] {
        let mut group = criterion.benchmark_group(format!("resnet18-w{width} batch {batch}"));
        group.sample_size(10).throughput(Throughput::Elements(batch as u64));
        let setup = setup::Setup::new(width, batch);
        let (early, late) = setup.cut();
        let w = setup.late_weights(&late);
        let features = || setup.early_features(&early);
        group.bench_function("early", |b| b.iter(features));
        group.bench_function("plain", |b| {
            b.iter(|| {
                let loss = setup.method.loss(&late, &w, &features(), Mode::Train).expect("a loss");
                w.gradients(&loss.total, false).expect("gradients")
            });
        });
        let mut step = |name: &str, settings: Settings| {
            let step = undo::find(&settings.repair).expect("a repair").training.as_ref().expect("one that trains").step;
            let problem = Problem {
                method: setup.method.as_ref(),
                late: &late,
                settings: &settings,
                teacher: None,
                held_out: None,
            };
            group.bench_function(name, |b| {
                b.iter(|| {
                    let early = features();
                    step(&problem, &w, &Batch { images: &early, early: &early }).expect("a step").gradients
                })
            });
        };
        step("joint", Settings { repair: "joint".into(), ..Settings::default() });
        let of = |name: &str| Settings { hypergradient: name.into(), ..Settings::default() };
        for entry in HYPERGRADIENTS {
            step(entry.name, of(entry.name));
        }
        step("cg, exact products", Settings { hessian: Product::Exact, ..of("cg") });
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
