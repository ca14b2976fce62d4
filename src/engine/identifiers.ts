/** Ids, names, UUIDs and MAC addresses that the engine makes. */
import { createHash, randomBytes, randomInt } from "node:crypto";
import { VM_NAME_LIMIT } from "./limits.ts";

export const newId = (): string => randomBytes(32).toString("hex");
export const shortId = (id: string): string => id.slice(0, 12);
export const newToken = (): string => randomBytes(32).toString("hex");

/** Docker's rule for container and volume names. */
export const NAME_RULE = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
export const NAME_CHARACTERS = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/** A stable 64-digit id for something that is known by name, such as the default network. */
export const idOf = (...parts: string[]): string => createHash("sha256").update(parts.join("\0")).digest("hex");

/** A version 4 shaped UUID made of the container's id, so that an administrator can tell one from the other. */
export function uuidOf(id: string): string {
  const digits = id.slice(0, 32).split("");
  digits[12] = "4";
  digits[16] = "89ab"[Number.parseInt(digits[16] ?? "0", 16) % 4] ?? "8";
  const hex = digits.join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** `{name}-{short id}`, cut to what vSphere allows, with the id always whole. `/`, `\` and `%` never occur in our names. */
export function virtualMachineName(name: string, id: string): string {
  const suffix = `-${shortId(id)}`;
  return name.slice(0, VM_NAME_LIMIT - suffix.length) + suffix;
}

/** The range that vSphere lets an administrator assign by hand: 00:50:56:00:00:00 to 00:50:56:3f:ff:ff. */
const MAC_BITS = 22;

/**
 * A static MAC address that `inUse` does not have. It follows the IP address, as Docker's do, so that two containers of one
 * network cannot get the same one even when two engines choose at the same time.
 */
export function chooseMac(address: string | undefined, inUse: ReadonlySet<string>): string {
  const range = 2 ** MAC_BITS;
  const octets = address?.split(".").map(Number);
  let value =
    octets === undefined
      ? randomInt(range)
      : (((octets[1] ?? 0) << 16) | ((octets[2] ?? 0) << 8) | (octets[3] ?? 0)) % range;
  for (let attempt = 0; attempt < range; attempt++, value = (value + 1) % range) {
    const mac = formatMac(value);
    if (!inUse.has(mac)) return mac;
  }
  throw new Error("Every static MAC address of vSphere's range is in use.");
}

function formatMac(value: number): string {
  const hex = value.toString(16).padStart(6, "0");
  return `00:50:56:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}`;
}

const ADJECTIVES =
  "agile amber ancient bold brave bright brisk calm candid clever cosmic crisp daring deft eager earnest faithful fearless fleet gentle gifted golden grand happy hardy honest humble jolly keen kind lively lucid merry mighty modest nimble noble patient polite proud quick quiet rapid serene sharp shiny silent sleek solid steady stoic sturdy subtle sunny swift tender tidy upbeat valiant vivid warm wise witty zealous".split(
    " ",
  );
const NOUNS =
  "abbe albattani ampere babbage banach bardeen bell bohr boole borg bose brahe carson cerf church clarke cohen colden cray curie darwin dijkstra diffie easley einstein elion engelbart euclid euler faraday fermat fermi feynman franklin galileo galois gauss germain goldberg goodall hamilton hawking heisenberg hellman hopper hypatia jackson jang joliot johnson kalam keller kepler kilby knuth lamarr leakey lovelace maxwell mcclintock meitner mendel mirzakhani morse napier newton nobel noether pascal pasteur perlman pike poincare ramanujan ritchie rubin shannon sinoussi swartz tesla thompson torvalds turing volhard wiles wing wozniak wright yalow".split(
    " ",
  );

/** A name for a container whose user gave none, in Docker's adjective_surname form. */
export function randomName(attempt: number): string {
  const pick = (words: readonly string[]): string => words[randomInt(words.length)] ?? "vch";
  const name = `${pick(ADJECTIVES)}_${pick(NOUNS)}`;
  return attempt < 5 ? name : `${name}${randomInt(10_000)}`;
}
