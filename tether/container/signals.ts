/** Names in the order of their numbers, 1 to 31; the same on x86_64 and aarch64. (node:os costs 13 ms under emulation.) */
const NAMES =
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(
    " ",
  );
const ALIASES: Record<string, string> = { IOT: "ABRT", CLD: "CHLD", POLL: "IO" };

/** Number of a signal given as `SIGTERM`, `TERM`, `15` or `RTMIN+3`; undefined when there is none. */
export const signalNumber = (signal: string): number | undefined => {
  const text = signal.toUpperCase().replace(/^SIG/, "");
  if (/^\d{1,2}$/.test(text)) return Number(text) >= 1 && Number(text) <= 64 ? Number(text) : undefined;
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(text);
  if (realTime !== null) {
    const base = realTime[1] === "MIN" ? 34 : 64;
    const number = base + (realTime[2] === "-" ? -1 : 1) * Number(realTime[3] ?? 0);
    return number >= 34 && number <= 64 ? number : undefined;
  }
  const index = NAMES.indexOf(ALIASES[text] ?? text);
  return index === -1 ? undefined : index + 1;
};
