/** --chmod: octal, or symbolic as in chmod(1) without `t`, for example `u=rwX,go=rX`. */
import { invalid } from "../../errors.ts";

export type ModeChange = (mode: number, isDirectory: boolean) => number;

const BITS: Record<string, number> = { r: 4, w: 2, x: 1 };
const SHIFTS: Record<string, number> = { u: 6, g: 3, o: 0 };

export function parseMode(text: string): ModeChange {
  if (/^[0-7]{1,4}$/.test(text)) {
    const mode = Number.parseInt(text, 8);
    return () => mode;
  }
  const clauses = text.split(",").map((clause) => {
    const match = /^([ugoa]*)([-+=])([rwxXs]*)$/.exec(clause);
    if (match === null)
      throw invalid(`invalid chmod parameter: '${text}'. it should be octal string and between 0 and 07777`);
    const [, who = "", operator = "", permissions = ""] = match;
    return { who: who === "" || who.includes("a") ? "ugo" : who, operator, permissions };
  });
  return (mode, isDirectory) => {
    let result = mode;
    for (const { who, operator, permissions } of clauses) {
      for (const class_ of who) {
        const shift = SHIFTS[class_] ?? 0;
        let bits = 0;
        for (const permission of permissions) {
          if (permission === "X") bits |= isDirectory || (mode & 0o111) !== 0 ? 1 : 0;
          else bits |= BITS[permission] ?? 0;
        }
        let special = 0;
        if (permissions.includes("s")) special = class_ === "u" ? 0o4000 : class_ === "g" ? 0o2000 : 0;
        const value = (bits << shift) | special;
        if (operator === "+") result |= value;
        else if (operator === "-") result &= ~value;
        else result = (result & ~(0o7 << shift)) | value;
      }
    }
    return result;
  };
}
