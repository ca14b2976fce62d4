/**
 * Compares versions of Debian packages: epoch, upstream version and revision.
 * Facts: Debian Policy Manual 5.6.12.
 * @returns negative, 0 or positive as `a` is older than, the same as or newer than `b`
 */
export function compareDebVersions(a: string, b: string): number {
  const [left, right] = [parts(a), parts(b)];
  return (
    left.epoch - right.epoch || compareText(left.upstream, right.upstream) || compareText(left.revision, right.revision)
  );
}

function parts(version: string): { epoch: number; upstream: string; revision: string } {
  const [, epoch = "0", rest = ""] = /^(?:(\d+):)?(.*)$/s.exec(version) ?? [];
  const dash = rest.lastIndexOf("-");
  // No revision is the same as revision 0.
  return {
    epoch: Number(epoch),
    upstream: dash < 0 ? rest : rest.slice(0, dash),
    revision: dash < 0 ? "" : rest.slice(dash + 1),
  };
}

/** In turn: a part without digits, then a number. */
function compareText(a: string, b: string): number {
  let [left, right] = [a, b];
  while (left !== "" || right !== "") {
    const [leftText = "", rightText = ""] = [/^\D*/.exec(left)?.[0], /^\D*/.exec(right)?.[0]];
    for (let at = 0; at < Math.max(leftText.length, rightText.length); at++) {
      const order = weight(leftText[at]) - weight(rightText[at]);
      if (order !== 0) return order;
    }
    [left, right] = [left.slice(leftText.length), right.slice(rightText.length)];
    const [leftDigits = "", rightDigits = ""] = [/^\d*/.exec(left)?.[0], /^\d*/.exec(right)?.[0]];
    const [leftNumber, rightNumber] = [BigInt(leftDigits || 0), BigInt(rightDigits || 0)];
    if (leftNumber !== rightNumber) return leftNumber < rightNumber ? -1 : 1;
    [left, right] = [left.slice(leftDigits.length), right.slice(rightDigits.length)];
  }
  return 0;
}

/** A tilde sorts before the end, letters before everything else. */
function weight(character: string | undefined): number {
  if (character === undefined) return 0;
  if (character === "~") return -1;
  const code = character.charCodeAt(0);
  return /[A-Za-z]/.test(character) ? code : code + 256;
}
