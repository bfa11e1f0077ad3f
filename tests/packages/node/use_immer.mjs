// immer: new states from old ones that do not change: drafts, patches, maps, sets, freezing.
import { applyPatches, createDraft, current, enableMapSet, enablePatches, finishDraft, freeze, immerable, isDraft, nothing, original, produce, produceWithPatches } from 'immer';

enablePatches();
enableMapSet();
const base = { list: [{ n: 1 }, { n: 2 }, { n: 3 }], deep: { a: { b: 1 } }, map: new Map([['k', { v: 1 }]]), set: new Set([1, 2]), same: {} };
const next = produce(base, draft => {
  draft.list.push({ n: 4 });
  draft.list[0].n += 10;
  draft.list.splice(1, 1);
  delete draft.deep.a.b;
  draft.map.get('k').v = 2;
  draft.map.set('new', [1]);
  draft.set.delete(1);
  draft.set.add(3);
  console.log(isDraft(draft.list), original(draft).list.length, current(draft).list.length);
});
console.log(JSON.stringify(base), JSON.stringify(next), [...next.map], [...next.set], next.same === base.same, next.list[1] === base.list[2]);
const [state, patches, inverse] = produceWithPatches(base, draft => { draft.list.reverse(); draft.deep.c = null; draft.map.delete('k'); });
console.log(JSON.stringify(patches), JSON.stringify(applyPatches(state, inverse)) === JSON.stringify(base), JSON.stringify(applyPatches(base, patches)) === JSON.stringify(state));
try {
  'use strict';
  next.list.push(1);
} catch (error) {
  console.log(error.name, Object.isFrozen(next.list[0]));
}
class Account {
  [immerable] = true;
  constructor(owner) { this.owner = owner; this.sum = 0; }
  get label() { return `${this.owner}:${this.sum}`; }
}
const account = produce(new Account('ada'), draft => { draft.sum = 5; });
console.log(account instanceof Account, account.label, produce({ a: 1 }, () => nothing), produce([3, 1, 2], draft => { draft.sort(); }));
const draft = createDraft({ x: { y: 1 } });
draft.x.y++;
console.log(finishDraft(draft), produce((state, n) => { state.n = n; })({ n: 0 }, 7), Object.isFrozen(freeze({ a: {} }, true).a));
for (const recipe of [d => { d.x = 1; return {}; }, d => { Object.setPrototypeOf(d, null); }]) {
  try {
    produce({}, recipe);
  } catch (error) {
    console.log(error.message);
  }
}
