import { strictEqual } from 'assert';
import * as self from './index.js';
import data from './data.json' assert { type: 'json' };
import { count, bump } from './live.js';
export * from './live.js';
export { count as counted };
export const url = import.meta.url;
export { data };
export const read = () => count;
export default function named() {}
export const later = async () => (await import('./live.js')).count;
export const loaded = await Promise.resolve(typeof self.read);
export let failed;
try {
  strictEqual(this, undefined);
  null.property;
} catch (error) {
  failed = error;
}
