//! The judge against itself: every form runs twice on the CPU from the same states and must give the same, with every fault where it was.

use megalith_insnfuzz::campaign::{Plan, Status, run};
use megalith_insnfuzz::compare::Options;
use megalith_insnfuzz::harvest::Census;

#[test]
fn the_cpu_agrees_with_itself() {
    let plan = Plan {
        states: 40,
        seed: 3,
        form: None,
        blocks: 50,
        encodings: 4,
        options: Options { mxcsr_flags: true },
        self_check: true,
    };
    let report = run(&plan, &Census::new(), |_| {}).unwrap();
    let bad: Vec<_> = report.forms.iter().filter(|f| f.status == Status::Failed).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(report.block_failures, 0, "{:#?}", report.block_mismatches);
    let compared: Vec<_> = report.forms.iter().filter(|f| f.status == Status::Covered).collect();
    assert!(compared.len() > 1500);
    // A form none of whose states could be made is not tested at all; one that always faults says little.
    let empty: Vec<_> = compared.iter().filter(|f| f.states < 20).map(|f| &f.form).collect();
    assert!(empty.is_empty(), "{empty:?}");
}
