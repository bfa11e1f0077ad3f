//! Turns a control flow graph into wasm's structured control flow.
//!
//! First the graph is made reducible. A strongly connected component with several entries gets one header. If little code leads from its entries to the
//! header, edges from outside go through a copy of that code. Otherwise the header is one of the entries, with a dispatch node in front of it; edges from
//! outside to another entry set the dispatch variable and go through that node. Then the dominator tree is walked
//! as in Ramsey, "Beyond Relooper" (ICFP 2022): a node's code contains the nodes that it dominates, merge nodes become the ends of blocks, loop headers loops.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use wasm_encoder::{BlockType, InstructionSink};

pub type NodeId = usize;

/// What a node of the graph is.
#[derive(Clone, Debug)]
pub enum Node {
    /// Something the emitter knows, by its own number.
    User(usize),
    /// Loop header that goes on at `main` unless the dispatch variable is set (then at `slow`).
    Dispatch { main: NodeId, slow: NodeId },
    /// Goes where the dispatch variable says, resetting it: pairs of value and target.
    Select { cases: Vec<(u32, NodeId)>, main: NodeId },
    /// Sets the dispatch variable and goes on.
    Set { value: u32, next: NodeId },
}

/// A control flow graph; node 0 is the root.
#[derive(Default)]
pub struct Cfg {
    pub nodes: Vec<Node>,
    pub succs: Vec<Vec<NodeId>>,
    /// Nodes that end in a `br_table`: all their successors must be labels.
    pub switch: Vec<bool>,
    /// Nodes that only resume an unwound function: never the reason to choose a main entry.
    pub resume: Vec<bool>,
    /// Nodes on an edge, or on the way out of the graph: with or without them the same headers are chosen. They have one predecessor, and are copied with it.
    pub on_edge: Vec<bool>,
    /// How much code a node is.
    pub size: Vec<usize>,
}

impl Cfg {
    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.succs.push(Vec::new());
        self.switch.push(false);
        self.resume.push(false);
        self.on_edge.push(false);
        self.size.push(0);
        self.nodes.len() - 1
    }

    fn redirect(&mut self, from: NodeId, old: NodeId, new: NodeId) {
        for s in &mut self.succs[from] {
            if *s == old {
                *s = new;
            }
        }
        match &mut self.nodes[from] {
            Node::Dispatch { main, slow } => {
                for x in [main, slow] {
                    if *x == old {
                        *x = new;
                    }
                }
            }
            Node::Select { cases, main } => {
                for x in cases.iter_mut().map(|c| &mut c.1).chain([main]) {
                    if *x == old {
                        *x = new;
                    }
                }
            }
            Node::Set { next, .. } => {
                if *next == old {
                    *next = new;
                }
            }
            Node::User(_) => {}
        }
    }

    fn preds(&self) -> Vec<Vec<NodeId>> {
        let mut p = vec![Vec::new(); self.nodes.len()];
        for (i, ss) in self.succs.iter().enumerate() {
            for &s in ss {
                p[s].push(i);
            }
        }
        p
    }
}

/// A reducible graph with its dominator tree, and the final target of each edge by original target.
pub struct Structured {
    pub cfg: Cfg,
    rpo: Vec<usize>,
    children: Vec<Vec<NodeId>>,
    merge: Vec<bool>,
    header: Vec<bool>,
    /// Loop headers to which there are few ways back, from other nodes, each of which can have code of its own.
    few_ways_back: Vec<bool>,
    /// (node, original successor) -> present successor, for edges that were redirected.
    moved: HashMap<(NodeId, NodeId), NodeId>,
}

/// How a node's own code ends; conditions and indices are on the wasm stack.
pub enum Exit {
    /// It returned.
    Never,
    Goto(NodeId),
    Branch {
        then: NodeId,
        otherwise: NodeId,
    },
    /// Index on the stack; out of range goes to `default`.
    Switch {
        targets: Vec<NodeId>,
        default: NodeId,
    },
}

/// Emits the code of nodes.
pub trait Emit {
    /// Emits the node's own code.
    /// `depth` labels enclose the code: `br depth` leaves the whole graph's code.
    fn node(&mut self, id: NodeId, node: &Node, header: bool, depth: u32) -> Exit;
    /// Whether something is done on each way back to a loop header.
    fn has_way_back(&self, header: NodeId) -> bool;
    /// Emits that. `depth` labels enclose the code.
    fn way_back(&mut self, header: NodeId, depth: u32);
    fn code(&mut self) -> &mut Vec<u8>;
}

/// Shows the loops of a graph to `visit`, from the outside in: their members, and where they are entered from elsewhere (by way of `preds`) or begin.
/// The loops inside of one follow if `visit` says so.
pub fn visit_loops(succs: &[Vec<NodeId>], preds: &[Vec<NodeId>], mut visit: impl FnMut(&[NodeId], &[NodeId]) -> bool) {
    let mut work: Vec<BTreeSet<NodeId>> = vec![(0..succs.len()).collect()];
    while let Some(set) = work.pop() {
        for members in components(succs, &set) {
            let &[first, ..] = &members[..] else { continue };
            if members.len() == 1 && !succs[first].contains(&first) {
                continue;
            }
            let mut inside: BTreeSet<NodeId> = members.iter().copied().collect();
            let entered = |n: &NodeId| *n == 0 || preds[*n].iter().any(|p| !inside.contains(p));
            let entries: Vec<NodeId> = members.iter().copied().filter(entered).collect();
            if visit(&members, &entries) {
                // What is left without its head. A loop that nothing enters is not reached either, but must get smaller too.
                inside.remove(entries.first().unwrap_or(&first));
                work.push(inside);
            }
        }
    }
}

/// Strongly connected components of the subgraph induced by `members` (Tarjan, iterative).
fn components(succs: &[Vec<NodeId>], members: &BTreeSet<NodeId>) -> Vec<Vec<NodeId>> {
    let mut index: HashMap<NodeId, (usize, usize)> = HashMap::new();
    let mut on_stack: BTreeSet<NodeId> = BTreeSet::new();
    let mut stack = Vec::new();
    let mut out = Vec::new();
    let mut counter = 0;
    for &start in members {
        if index.contains_key(&start) {
            continue;
        }
        let mut calls = vec![(start, 0usize)];
        index.insert(start, (counter, counter));
        counter += 1;
        stack.push(start);
        on_stack.insert(start);
        while let Some(&mut (v, ref mut i)) = calls.last_mut() {
            if let Some(&w) = succs[v].get(*i) {
                *i += 1;
                if !members.contains(&w) {
                    continue;
                }
                match index.get(&w) {
                    None => {
                        index.insert(w, (counter, counter));
                        counter += 1;
                        stack.push(w);
                        on_stack.insert(w);
                        calls.push((w, 0));
                    }
                    Some(&(wi, _)) if on_stack.contains(&w) => {
                        if let Some(e) = index.get_mut(&v) {
                            e.1 = e.1.min(wi);
                        }
                    }
                    _ => {}
                }
            } else {
                calls.pop();
                let (vi, low) = index[&v];
                if let Some(&(p, _)) = calls.last()
                    && let Some(e) = index.get_mut(&p)
                {
                    e.1 = e.1.min(low);
                }
                if vi == low {
                    let mut c = Vec::new();
                    while let Some(w) = stack.pop() {
                        on_stack.remove(&w);
                        c.push(w);
                        if w == v {
                            break;
                        }
                    }
                    out.push(c);
                }
            }
        }
    }
    out
}

/// Makes the graph reducible and orders it.
pub fn structure(mut cfg: Cfg) -> Structured {
    let mut original: Vec<Vec<NodeId>> = cfg.succs.clone();
    let mut value = 0u32;
    let reachable = reach(&cfg);
    // Nodes, and how much of them may be copied. What is copied once is not copied again, and what lies inside of a loop shares in what the loop may: else nests of loops would double at
    // each step.
    let mut work: Vec<(BTreeSet<NodeId>, usize)> = vec![(reachable, usize::MAX)];
    while let Some((members, budget)) = work.pop() {
        for component in components(&cfg.succs, &members) {
            if component.len() == 1 {
                continue;
            }
            let mut budget = budget;
            let set: BTreeSet<NodeId> = component.iter().copied().collect();
            let preds = cfg.preds();
            let entries: Vec<NodeId> =
                set.iter().copied().filter(|&n| n == 0 || preds[n].iter().any(|p| !set.contains(p))).collect();
            let mut rest = set.clone();
            match entries.as_slice() {
                [] => continue,
                &[only] => {
                    rest.remove(&only);
                }
                _ => {
                    let main = choose_main(&cfg, &preds, &set, &entries);
                    budget = budget.min((size(&cfg, &set) / COPIED_PART).max(COPIED));
                    if let Some(region) = region_before(&cfg, &set, &entries, main, budget) {
                        work.push((copy(&mut cfg, &mut original, &preds, &set, &region), 0));
                        rest.remove(&main);
                        work.push((rest, budget - size(&cfg, &region)));
                        continue;
                    }
                    let slow = cfg.add(Node::Select { cases: Vec::new(), main });
                    let head = cfg.add(Node::Dispatch { main, slow });
                    for &p in &preds[main] {
                        cfg.redirect(p, main, head);
                    }
                    cfg.succs[head] = vec![main, slow];
                    cfg.switch[slow] = true;
                    let mut cases = Vec::new();
                    for &e in entries.iter().filter(|&&e| e != main) {
                        value += 1;
                        let set_node = cfg.add(Node::Set { value, next: head });
                        cfg.succs[set_node] = vec![head];
                        let clear = cfg.add(Node::Set { value: 0, next: e });
                        cfg.succs[clear] = vec![e];
                        for &p in preds[e].iter().filter(|p| !set.contains(p)) {
                            cfg.redirect(p, e, set_node);
                        }
                        cases.push((value, clear));
                        rest.insert(clear);
                    }
                    cfg.succs[slow] = cases.iter().map(|c| c.1).chain([main]).collect();
                    cfg.nodes[slow] = Node::Select { cases, main };
                    rest.insert(slow);
                }
            }
            work.push((rest, budget));
        }
    }
    let mut moved = HashMap::new();
    for (i, old) in original.iter().enumerate() {
        for (k, &o) in old.iter().enumerate() {
            let now = cfg.succs[i][k];
            if now != o {
                moved.insert((i, o), now);
            }
        }
    }
    order(cfg, moved)
}

fn reach(cfg: &Cfg) -> BTreeSet<NodeId> {
    let mut seen = BTreeSet::from([0]);
    let mut work = vec![0];
    while let Some(n) = work.pop() {
        for &s in &cfg.succs[n] {
            if seen.insert(s) {
                work.push(s);
            }
        }
    }
    seen
}

/// How much code there is in `nodes`. Edges have none, other nodes some.
fn size(cfg: &Cfg, nodes: &BTreeSet<NodeId>) -> usize {
    nodes.iter().filter(|&&n| !cfg.on_edge[n]).map(|&n| cfg.size[n].max(1)).sum()
}

/// What lies between the entries of a component and its header, if that is no more than `most`.
fn region_before(
    cfg: &Cfg,
    set: &BTreeSet<NodeId>,
    entries: &[NodeId],
    header: NodeId,
    most: usize,
) -> Option<BTreeSet<NodeId>> {
    let mut region = BTreeSet::new();
    let mut work: Vec<NodeId> = entries.to_vec();
    while let Some(n) = work.pop() {
        if n == header || !set.contains(&n) || !region.insert(n) {
            continue;
        }
        if !matches!(cfg.nodes[n], Node::User(_)) {
            return None;
        }
        work.extend(&cfg.succs[n]);
    }
    (size(cfg, &region) <= most).then_some(region)
}

/// Makes edges from outside of `set` into `region` lead to a copy of it, which is returned.
fn copy(
    cfg: &mut Cfg,
    original: &mut Vec<Vec<NodeId>>,
    preds: &[Vec<NodeId>],
    set: &BTreeSet<NodeId>,
    region: &BTreeSet<NodeId>,
) -> BTreeSet<NodeId> {
    let mut copied = region.clone();
    for &n in region {
        copied.extend(cfg.succs[n].iter().filter(|&&s| cfg.on_edge[s]));
    }
    let copies: BTreeMap<NodeId, NodeId> = copied
        .iter()
        .map(|&n| {
            let c = cfg.add(cfg.nodes[n].clone());
            (cfg.switch[c], cfg.on_edge[c], cfg.size[c]) = (cfg.switch[n], cfg.on_edge[n], cfg.size[n]);
            original.resize(cfg.nodes.len(), Vec::new());
            original[c] = original[n].clone();
            (n, c)
        })
        .collect();
    for (&n, &c) in &copies {
        cfg.succs[c] = cfg.succs[n].iter().map(|s| copies.get(s).copied().unwrap_or(*s)).collect();
    }
    for (&n, &c) in copies.iter().filter(|(n, _)| region.contains(n)) {
        for &p in preds[n].iter().filter(|p| !set.contains(p)) {
            cfg.redirect(p, n, c);
        }
    }
    copies.into_values().collect()
}

/// How many nodes of `set` are in cycles that do not pass `without`.
fn left_in_cycles(cfg: &Cfg, set: &BTreeSet<NodeId>, without: NodeId) -> usize {
    let mut rest = set.clone();
    rest.remove(&without);
    let count = |c: Vec<NodeId>| c.into_iter().filter(|&n| !cfg.on_edge[n]).count();
    components(&cfg.succs, &rest).into_iter().map(count).filter(|&l| l > 1).sum()
}

/// So many entries of a component are considered for its header.
const MANY_ENTRIES: usize = 8;

/// Instructions that are always few enough to be copied to give a component one entry.
const COPIED: usize = 64;
/// A component that is so many times what is copied is large enough for it.
const COPIED_PART: usize = 16;

/// The entry that becomes the loop header: one that ordinary control flow enters, whose removal leaves the fewest nodes in cycles.
fn choose_main(cfg: &Cfg, preds: &[Vec<NodeId>], set: &BTreeSet<NodeId>, entries: &[NodeId]) -> NodeId {
    let ordinary: Vec<NodeId> =
        entries.iter().copied().filter(|&e| preds[e].iter().any(|&p| !set.contains(&p) && !cfg.resume[p])).collect();
    let candidates = if ordinary.is_empty() { entries } else { &ordinary };
    let mut best = (usize::MAX, candidates.first().copied().unwrap_or(0));
    if candidates.len() == 1 {
        return best.1;
    }
    for &c in candidates.iter().take(MANY_ENTRIES) {
        let left = left_in_cycles(cfg, set, c);
        if left < best.0 {
            best = (left, c);
        }
    }
    best.1
}

/// Reverse postorder, dominators (Cooper, Harvey, Kennedy), merge nodes and loop headers.
fn order(cfg: Cfg, moved: HashMap<(NodeId, NodeId), NodeId>) -> Structured {
    let n = cfg.nodes.len();
    let mut post = Vec::with_capacity(n);
    let mut seen = vec![false; n];
    let mut stack = vec![(0usize, 0usize)];
    seen[0] = true;
    while let Some(&mut (v, ref mut i)) = stack.last_mut() {
        // Later successors are visited first, so that the first comes first in reverse postorder.
        let ss = &cfg.succs[v];
        if *i < ss.len() {
            let w = ss[ss.len() - 1 - *i];
            *i += 1;
            if !seen[w] {
                seen[w] = true;
                stack.push((w, 0));
            }
        } else {
            stack.pop();
            post.push(v);
        }
    }
    let mut rpo = vec![usize::MAX; n];
    for (i, &v) in post.iter().rev().enumerate() {
        rpo[v] = i;
    }
    let preds = cfg.preds();
    let mut idom = vec![usize::MAX; n];
    idom[0] = 0;
    let mut changed = true;
    while changed {
        changed = false;
        for &v in post.iter().rev().skip(1) {
            let mut new = usize::MAX;
            for &p in preds[v].iter().filter(|&&p| rpo[p] != usize::MAX && idom[p] != usize::MAX) {
                new = if new == usize::MAX {
                    p
                } else {
                    let (mut a, mut b) = (p, new);
                    while a != b {
                        while rpo[a] > rpo[b] {
                            a = idom[a];
                        }
                        while rpo[b] > rpo[a] {
                            b = idom[b];
                        }
                    }
                    a
                };
            }
            if idom[v] != new {
                idom[v] = new;
                changed = true;
            }
        }
    }
    let mut children = vec![Vec::new(); n];
    let mut merge = vec![false; n];
    let mut header = vec![false; n];
    let mut few_ways_back = vec![false; n];
    for v in 0..n {
        if rpo[v] == usize::MAX {
            continue;
        }
        if v != 0 {
            children[idom[v]].push(v);
        }
        let (mut forward, mut back) = (0, 0);
        for &p in &preds[v] {
            if rpo[p] == usize::MAX {
                continue;
            }
            if rpo[p] >= rpo[v] {
                header[v] = true;
                back += 1;
                // A loop of one node is entered to go round many times, and larger with code behind its end.
                if cfg.switch[p] || p == v {
                    back = MANY_WAYS_BACK + 1;
                }
            } else {
                forward += 1;
                if cfg.switch[p] {
                    forward = 2;
                }
            }
        }
        merge[v] = forward >= 2;
        few_ways_back[v] = back <= MANY_WAYS_BACK;
    }
    for c in &mut children {
        // The merge node that comes last in reverse postorder is placed outermost.
        c.sort_by_key(|&v| std::cmp::Reverse(rpo[v]));
    }
    Structured { cfg, rpo, children, merge, header, few_ways_back, moved }
}

/// Loop headers with more ways back have the code for these once, at their top.
const MANY_WAYS_BACK: usize = 2;

#[derive(Clone, Copy, PartialEq)]
enum Frame {
    Loop(NodeId),
    Block(NodeId),
    Plain,
}

impl Structured {
    /// Where the edge from `from` to `to` (as given to [`structure`]) goes now.
    pub fn target(&self, from: NodeId, to: NodeId) -> NodeId {
        self.moved.get(&(from, to)).copied().unwrap_or(to)
    }

    /// Nodes with a single way in; the way in.
    pub fn single_pred(&self) -> BTreeMap<NodeId, NodeId> {
        self.cfg
            .preds()
            .into_iter()
            .enumerate()
            .filter_map(|(i, p)| match p.as_slice() {
                &[one] => Some((i, one)),
                _ => None,
            })
            .collect()
    }

    pub fn is_header(&self, n: NodeId) -> bool {
        self.header[n]
    }

    /// Whether so few ways lead back to loop header `n` that each can have code of its own.
    pub fn has_few_ways_back(&self, n: NodeId) -> bool {
        self.few_ways_back[n]
    }

    pub fn is_reachable(&self, n: NodeId) -> bool {
        self.rpo[n] != usize::MAX
    }

    /// Emits the whole graph. The code never falls off its end.
    pub fn emit(&self, e: &mut impl Emit) {
        let mut frames = Vec::new();
        self.tree(0, &mut frames, e);
    }

    fn tree(&self, n: NodeId, frames: &mut Vec<Frame>, e: &mut impl Emit) {
        if self.header[n] {
            InstructionSink::new(e.code()).loop_(BlockType::Empty);
            frames.push(Frame::Loop(n));
        }
        let merges: Vec<NodeId> = self.children[n].iter().copied().filter(|&c| self.merge[c]).collect();
        for &m in &merges {
            InstructionSink::new(e.code()).block(BlockType::Empty);
            frames.push(Frame::Block(m));
        }
        let exit = e.node(n, &self.cfg.nodes[n], self.header[n], frames.len() as u32);
        self.exit(n, exit, frames, e);
        for &m in merges.iter().rev() {
            InstructionSink::new(e.code()).end();
            frames.pop();
            self.tree(m, frames, e);
        }
        if self.header[n] {
            InstructionSink::new(e.code()).unreachable();
            InstructionSink::new(e.code()).end();
            frames.pop();
            InstructionSink::new(e.code()).unreachable();
        }
    }

    fn exit(&self, n: NodeId, exit: Exit, frames: &mut Vec<Frame>, e: &mut impl Emit) {
        match exit {
            Exit::Never => {}
            Exit::Goto(t) => self.go(n, t, frames, e),
            Exit::Branch { then, otherwise } => {
                if self.label(n, then, frames).is_some() {
                    self.branch(n, then, frames, e);
                    self.go(n, otherwise, frames, e);
                } else if self.label(n, otherwise, frames).is_some() {
                    InstructionSink::new(e.code()).i32_eqz();
                    self.branch(n, otherwise, frames, e);
                    self.go(n, then, frames, e);
                } else {
                    InstructionSink::new(e.code()).if_(BlockType::Empty);
                    frames.push(Frame::Plain);
                    self.go(n, then, frames, e);
                    InstructionSink::new(e.code()).else_();
                    self.go(n, otherwise, frames, e);
                    frames.pop();
                    InstructionSink::new(e.code()).end().unreachable();
                }
            }
            Exit::Switch { targets, default } => {
                let labels: Option<Vec<u32>> = targets.iter().map(|&t| self.label(n, t, frames)).collect();
                match (labels, self.label(n, default, frames)) {
                    (Some(l), Some(d)) => {
                        InstructionSink::new(e.code()).br_table(l, d);
                    }
                    // Cannot happen: a switch's successors are merge nodes.
                    _ => {
                        InstructionSink::new(e.code()).drop().unreachable();
                    }
                }
            }
        }
    }

    /// Depth of the label for the edge `from` -> `to`, when it is one.
    fn label(&self, from: NodeId, to: NodeId, frames: &[Frame]) -> Option<u32> {
        let want = if self.rpo[from] >= self.rpo[to] {
            Frame::Loop(to)
        } else if self.merge[to] {
            Frame::Block(to)
        } else {
            return None;
        };
        frames.iter().rev().position(|&f| f == want).map(|d| d as u32)
    }

    /// Goes to the label for the edge `from` -> `to` if the condition on the stack holds.
    fn branch(&self, from: NodeId, to: NodeId, frames: &[Frame], e: &mut impl Emit) {
        let Some(d) = self.label(from, to, frames) else { return };
        if self.rpo[from] >= self.rpo[to] && e.has_way_back(to) {
            InstructionSink::new(e.code()).if_(BlockType::Empty);
            e.way_back(to, frames.len() as u32 + 1);
            InstructionSink::new(e.code()).br(d + 1).end();
        } else {
            InstructionSink::new(e.code()).br_if(d);
        }
    }

    fn go(&self, from: NodeId, to: NodeId, frames: &mut Vec<Frame>, e: &mut impl Emit) {
        match self.label(from, to, frames) {
            Some(d) => {
                if self.rpo[from] >= self.rpo[to] && e.has_way_back(to) {
                    e.way_back(to, frames.len() as u32);
                }
                InstructionSink::new(e.code()).br(d);
            }
            None => self.tree(to, frames, e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of blocks with `size` instructions each, from a root that leads to `entries`.
    fn graph(size: usize, entries: &[NodeId], edges: &[(NodeId, &[NodeId])]) -> Cfg {
        let mut cfg = Cfg::default();
        cfg.add(Node::User(0));
        cfg.succs[0] = entries.to_vec();
        for &(n, to) in edges {
            assert_eq!(cfg.add(Node::User(n)), n);
            cfg.size[n] = size;
            cfg.succs[n] = to.to_vec();
        }
        cfg
    }

    fn dispatches(st: &Structured) -> usize {
        st.cfg.nodes.iter().filter(|n| matches!(n, Node::Dispatch { .. })).count()
    }

    #[test]
    fn a_small_way_to_the_header_is_copied() {
        // 1 -> 2 -> 3 -> 1, entered at 1 and at 3.
        let edges: [(NodeId, &[NodeId]); 3] = [(1, &[2]), (2, &[3]), (3, &[1])];
        let small = structure(graph(10, &[1, 3], &edges));
        assert_eq!((small.cfg.nodes.len(), dispatches(&small)), (5, 0));
        assert_eq!((small.target(0, 1), small.is_header(1)), (1, true));
        let copy = small.target(0, 3);
        assert!(matches!(small.cfg.nodes[copy], Node::User(3)) && copy != 3);
        assert_eq!(small.target(copy, 1), 1);
        let large = structure(graph(100, &[1, 3], &edges));
        assert_eq!(dispatches(&large), 1);
    }

    #[test]
    fn copies_do_not_double_in_nests_of_loops() {
        // Each of them goes on at any of them, as in an interpreter with a jump at the end of every handler.
        for n in [8, 16, 64] {
            let all: Vec<NodeId> = (1..=n).collect();
            let edges: Vec<(NodeId, &[NodeId])> = all.iter().map(|&b| (b, &all[..])).collect();
            let st = structure(graph(4, &all, &edges));
            assert!(st.cfg.nodes.len() < 8 * n * n, "{n}: {} nodes", st.cfg.nodes.len());
        }
    }
}
