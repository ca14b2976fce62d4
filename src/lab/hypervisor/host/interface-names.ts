/** Names of the lab's network interfaces: at most 15 characters, the same at every start, different between labs. */
import { resolve } from "node:path";

const LAB_DIGITS = 3;
const OBJECT_DIGITS = 8;

/** `digits` base-36 digits that stand for the text. */
function digest(text: string, digits: number): string {
  const hash = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  return (BigInt(`0x${hash}`) % 36n ** BigInt(digits)).toString(36).padStart(digits, "0");
}

/** Common beginning of all interfaces of the lab with this state directory. */
export function interfacePrefix(stateDirectory: string): string {
  return `vch${digest(resolve(stateDirectory), LAB_DIGITS)}`;
}

export function bridgeName(prefix: string, portGroup: string): string {
  return `${prefix}b${digest(portGroup, OBJECT_DIGITS)}`;
}

/** A fixed, locally administered address: without one, a bridge changes its address as taps come and go. */
export function bridgeAddress(prefix: string, portGroup: string): string {
  const hash = new Bun.CryptoHasher("sha256").update(`${prefix}/${portGroup}`).digest("hex");
  return ["02", ...(hash.slice(0, 10).match(/../g) ?? [])].join(":");
}

export function tapName(prefix: string, machineId: string, adapterKey: number): string {
  return `${prefix}t${digest(`${machineId}/${adapterKey}`, OBJECT_DIGITS)}`;
}
