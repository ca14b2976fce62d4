import { OPERATIONS_PRIVILEGES, PORT_GROUP_PRIVILEGES } from "../vsphere/index.ts";

/** The role of the vSphere user that a VCH logs in as. */
export const OPERATIONS_ROLE = { name: "vch-operations", privileges: OPERATIONS_PRIVILEGES } as const;

/** The commands that make the role and grant it, for a shell where govc is set up. */
export function roleCommands(principal: string): string {
  const { name, privileges } = OPERATIONS_ROLE;
  return [
    [`govc role.create ${name}`, ...Object.keys(privileges)].join(" \\\n  "),
    "",
    "# On what the VCH may use, with everything below it. Read-only from the root makes the way there visible.",
    `govc permissions.set -principal ${principal} -role ReadOnly -propagate=false /`,
    ...["VM-FOLDER", "RESOURCE-POOL", "DATASTORE", "BRIDGE-NETWORK"].map(
      (object) => `govc permissions.set -principal ${principal} -role ${name} ${object}`,
    ),
    `# Only if this VCH shall make port groups of its own, a role with ${PORT_GROUP_PRIVILEGES.join(", ")} on the hosts.`,
  ].join("\n");
}
