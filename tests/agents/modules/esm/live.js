export let count = 1;
export function bump() { count++; }
