//! A fixed-seed share of the instruction fuzz: every form, the CPU against the translation.

use megalith_insnfuzz::arena::{CODE_START, Contents};
use megalith_insnfuzz::campaign::{Plan, Status, run};
use megalith_insnfuzz::compare::Options;
use megalith_insnfuzz::harvest::Census;
use megalith_insnfuzz::state::{Outcome, State};
use megalith_insnfuzz::translate::Translation;

/// Forms of every x86-64 CPU that are not recompiled, with the reason. One that starts being covered must be struck from here.
const UNCOVERED: [(&str, &str); 3] = [
    ("Enterw_imm16_imm8", "no compiler emits it"),
    ("Enterq_imm16_imm8", "no compiler emits it"),
    ("Leavew", "no compiler emits it"),
];

#[test]
fn every_covered_form_equals_the_cpu() {
    let plan = Plan {
        states: 60,
        seed: 0x6d65_6761,
        form: None,
        blocks: 100,
        encodings: 2,
        options: Options::default(),
        self_check: false,
    };
    let report = run(&plan, &Census::new(), |_| {}).unwrap();
    let bad: Vec<_> = report.forms.iter().filter(|f| f.status == Status::Failed).collect();
    assert!(bad.is_empty(), "{} forms: {bad:#?}", bad.len());
    assert_eq!(report.block_failures, 0, "{:#?}", report.block_mismatches);
    let uncovered: Vec<_> = report
        .forms
        .iter()
        .filter(|f| f.baseline && matches!(f.status, Status::Uncovered(_)))
        .map(|f| f.form.as_str())
        .collect();
    assert_eq!(uncovered, UNCOVERED.map(|(form, _)| form));
}

/// An address is the low 32 bits of what x86 computes (docs/compatibility.md).
#[test]
fn addresses_above_4_gib_wrap() {
    // mov eax, [rbx]
    let mut t = Translation::load(&[0x8b, 0x03]).unwrap_or_else(|e| panic!("{e:?}"));
    let mut c = Contents::default();
    c.write(0x1000_0020, &0x1234_5678_u32.to_le_bytes());
    t.pages().write(&c, true).unwrap();
    let mut s = State::default();
    s.gpr[3] = 0x7f00_1000_0020;
    assert_eq!(t.run(&mut s), Ok(Outcome::Done(u64::from(CODE_START) + 2)));
    assert_eq!(s.gpr[0], 0x1234_5678);
}
