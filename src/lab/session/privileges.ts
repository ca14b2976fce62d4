import { LabFault } from "../fault.ts";
import type { Reference } from "../model/data.ts";
import { type User, userHolds } from "./users.ts";

/** NoPermission when the user lacks the privilege on the object. */
export function requireUserPrivilege(user: User, object: Reference, privilegeId: string): void {
  if (userHolds(user, privilegeId, object)) return;
  throw new LabFault("NoPermission", `Permission to perform this operation was denied: ${privilegeId} is missing.`, {
    object,
    privilegeId,
  });
}
