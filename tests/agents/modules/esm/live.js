export let count = 1;
export function bump() { count++; }
export { count as 'a count', bump as default };
export * as again from './live.js';
