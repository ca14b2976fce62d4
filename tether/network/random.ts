/** A whole number of 0 … `limit` - 1 that nobody can guess, for limits up to 65536. (node:crypto costs half a second under emulation.) */
export const randomBelow = (limit: number): number => {
  // Values beyond the last whole multiple would favour small results.
  const most = 0x10000 - (0x10000 % limit);
  const value = new Uint16Array(1);
  do crypto.getRandomValues(value);
  while ((value[0] ?? 0) >= most);
  return (value[0] ?? 0) % limit;
};
