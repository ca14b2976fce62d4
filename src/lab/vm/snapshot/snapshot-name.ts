import { LabFault } from "../../fault.ts";

/** vSphere's limit for the name of a snapshot, in characters. */
const NAME_LIMIT = 80;

/** The name that a client gave, checked: InvalidName. */
export function snapshotName(given: string): string {
  if (given.trim() !== "" && given.length <= NAME_LIMIT && !/[\x00-\x1f\x7f]/.test(given)) return given;
  throw new LabFault("InvalidName", `The name '${given.slice(0, NAME_LIMIT)}' is invalid.`, { name: given });
}
