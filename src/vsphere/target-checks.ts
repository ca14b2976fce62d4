/** What a vSphere offers a VCH before anything is made there. Nothing is changed. */
import { VSphereFault, type VSphereTarget } from "./contract.ts";
import { findInventory, type Inventory } from "./inventory.ts";
import { Networks } from "./networks.ts";
import {
  OPERATIONS_PRIVILEGES,
  type OperationsPrivilege,
  operationsPrivileges,
  type PrivilegeScope,
} from "./operations.ts";
import { retrieveOne } from "./properties.ts";
import { Session } from "./session.ts";
import { ConnectionError } from "./transport.ts";
import {
  type DatastoreSummary,
  type LicenseManagerLicenseInfo,
  type ManagedObjectReference,
  toNumber,
  type UserSession,
} from "./vim25/index.ts";

export interface TargetCheck {
  id: "connection" | "inventory" | "licence" | "privileges" | "datastore" | "network" | "container-network";
  title: string;
  passed: boolean;
  required: boolean;
  detail: string;
  /** What to do, when it did not pass. */
  fix?: string;
}

/** Room for a bootstrap ISO, a few images and their containers. */
const MINIMUM_FREE_BYTES = 8 * 2 ** 30;
/** Edition keys of ESXi's free licence, whose API refuses every change (RestrictedVersion). */
const READ_ONLY_EDITION = /^esxBasic/i;

type Verdict = Pick<TargetCheck, "passed" | "detail" | "fix">;
const pass = (detail: string): Verdict => ({ passed: true, detail });
const fail = (detail: string, fix: string): Verdict => ({ passed: false, detail, fix });

/** Looks at everything in order and stops where the next looks could not work. */
export async function checkTarget(
  target: VSphereTarget,
  networkName: string | undefined,
  /** Port groups of container networks. */
  portGroups: readonly string[] = [],
): Promise<TargetCheck[]> {
  const checks: TargetCheck[] = [];
  const add = (id: TargetCheck["id"], title: string, verdict: Verdict, required = true): void => {
    checks.push({ id, title, required, ...verdict });
  };
  let session: Session;
  try {
    session = await Session.open(target);
  } catch (error) {
    add("connection", "vSphere", connectionFailure(error));
    return checks;
  }
  try {
    const { about } = session.content;
    add("connection", "vSphere", pass(`${about.fullName}, API ${about.apiVersion}, logged in as ${target.username}`));
    let inventory: Inventory;
    try {
      inventory = await findInventory(session, target);
    } catch (error) {
      if (!(error instanceof VSphereFault)) throw error;
      const fix = "name it with --datacenter, --resource-pool, --folder, --datastore or --host";
      add("inventory", "inventory", fail(error.message, fix));
      return checks;
    }
    add("inventory", "inventory", pass(`datacenter ${inventory.datacenterPath}, datastore ${inventory.datastoreName}`));
    add("licence", "licence", await checkLicence(session), false);
    const networks = new Networks(session, inventory.networkFolder);
    const known = await networks.list();
    const network = known.find(({ name }) => name === networkName);
    add("network", "bridge network", checkNetwork(known, networkName));
    for (const name of portGroups) add("container-network", "container network", checkNetwork(known, name));
    const references = known.filter(({ name }) => portGroups.includes(name)).map(({ reference }) => reference);
    add("datastore", "datastore", await checkDatastore(session, inventory));
    add(
      "privileges",
      "privileges",
      await checkPrivileges(session, inventory, [...(network ? [network.reference] : []), ...references]),
    );
    return checks;
  } finally {
    await session.close();
  }
}

function connectionFailure(error: unknown): Verdict {
  if (error instanceof VSphereFault && error.fault === "InvalidLogin")
    return fail("user name or password is wrong", "check --target's user and the password (VCH_TARGET_PASSWORD)");
  if (error instanceof VSphereFault) return fail(error.message, "look at vSphere's own log for the reason");
  if (!(error instanceof ConnectionError)) throw error;
  const seen = /trust: ([0-9A-F:]{95})/.exec(error.message)?.[1];
  const fix = seen === undefined ? "check the address, and the fingerprint if it was given" : `--thumbprint ${seen}`;
  return fail(error.message, fix);
}

async function checkLicence(session: Session): Promise<Verdict> {
  const { licenseManager } = session.content;
  const unknown = pass("this user may not see licences; the first change will tell");
  if (!licenseManager) return unknown;
  const values = await retrieveOne(session, licenseManager, ["licenses"]).catch((error: unknown) => {
    if (error instanceof VSphereFault) return new Map();
    throw error;
  });
  const licences = values.get("licenses") as LicenseManagerLicenseInfo[] | undefined;
  if (licences === undefined || licences.length === 0) return unknown;
  const names = [...new Set(licences.map(({ name }) => name))].join(", ");
  return !session.isVirtualCenter && licences.every(({ editionKey }) => READ_ONLY_EDITION.test(editionKey))
    ? fail(`${names}: the free licence lets programs only read`, "assign any other licence to the host, or use vCenter")
    : pass(names);
}

function checkNetwork(known: readonly { name: string; kind: string }[], wanted: string | undefined): Verdict {
  const names = known.map(({ name }) => name).join(", ") || "none";
  const found = known.find(({ name }) => name === wanted);
  if (found) return pass(`${found.name}, ${found.kind}`);
  return wanted === undefined
    ? fail(`none was chosen; visible are: ${names}`, "--bridge-network NAME: a port group that this VCH has for itself")
    : fail(`there is no network "${wanted}"; visible are: ${names}`, "make the port group, or choose another one");
}

async function checkDatastore(session: Session, inventory: Inventory): Promise<Verdict> {
  const values = await retrieveOne(session, inventory.datastore, ["summary"]);
  const summary = values.get("summary") as DatastoreSummary | undefined;
  if (!summary) return fail("its capacity cannot be seen", "give the user Datastore.Browse on it");
  const free = toNumber(summary.freeSpace);
  const text = `${summary.name}, ${summary.type}, ${(free / 2 ** 30).toFixed(1)} GiB free`;
  if (!summary.accessible) return fail(`${summary.name} is not accessible`, "bring its storage back, or use another");
  if (summary.type === "vsan")
    return fail(`${text}: top-level directories of vSAN need its own interface`, "use a VMFS or NFS datastore");
  return free >= MINIMUM_FREE_BYTES
    ? pass(text)
    : fail(`${text}, less than ${MINIMUM_FREE_BYTES / 2 ** 30} GiB`, "free some space, or --datastore NAME");
}

async function checkPrivileges(
  session: Session,
  inventory: Inventory,
  networks: { type: string; value: string }[],
): Promise<Verdict> {
  const { authorizationManager, sessionManager } = session.content;
  if (!authorizationManager || !sessionManager) return pass("the server tells nothing of privileges");
  const current = await retrieveOne(session, sessionManager, ["currentSession"]);
  const sessionId = (current.get("currentSession") as UserSession | undefined)?.key ?? "";
  const objects: [PrivilegeScope, ManagedObjectReference][] = [
    ["folder", inventory.folder],
    ["resource pool", inventory.resourcePool],
    ["datastore", inventory.datastore],
    ...networks.map((network): [PrivilegeScope, ManagedObjectReference] => ["network", network]),
  ];
  const missing = new Set<string>();
  for (const [scope, object] of objects) {
    const wanted = operationsPrivileges().filter((privilege) => OPERATIONS_PRIVILEGES[privilege] === scope);
    for (const privilege of await lacking(session, sessionId, object, wanted)) missing.add(`${privilege} (${scope})`);
  }
  return missing.size === 0
    ? pass("all of the operations role")
    : fail(`missing: ${[...missing].join(", ")}`, "vch role prints the role and how to grant it");
}

async function lacking(
  session: Session,
  sessionId: string,
  object: ManagedObjectReference,
  wanted: OperationsPrivilege[],
): Promise<string[]> {
  const { authorizationManager } = session.content;
  if (!authorizationManager) return [];
  const [found] = await session.call("HasPrivilegeOnEntities", authorizationManager, {
    // The schema wants a managed entity here, which all of these are.
    entity: [object as ManagedObjectReference<"Folder">],
    sessionId,
    privId: wanted,
  });
  const held = new Set(
    (found?.privAvailability ?? []).filter(({ isGranted }) => isGranted).map(({ privId }) => privId),
  );
  return wanted.filter((privilege) => !held.has(privilege));
}
