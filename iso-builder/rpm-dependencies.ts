import { compareRpmVersions, type RpmCapability } from "../src/format/rpm";
import type { OfferedPackage, RpmRepositories } from "./rpm-repository";

/** What the image has without any RPM package: a shell and the usual commands of busybox, and nothing to configure. */
const providedByImage =
  /^(rpmlib\(.*|config\(.*|\/(usr\/)?s?bin\/(sh|bash|env|ldconfig)|(bash|coreutils|coreutils-selinux|toybox|busybox|shadow|systemd|systemd-udev|util-linux|kmod|filesystem|sed|grep|gawk|findutils|photon-release|\(systemd.*))$/;

const MAX_PACKAGES = 500;

/**
 * The packages that `names` need, themselves included, newest versions first chosen; each once, ordered by name.
 * @param names package names, or `NAME-VERSION` as `NAME:VERSION`
 * @throws Error that names what nobody offers, and who needs it
 */
export function resolveDependencies(repositories: RpmRepositories, names: readonly string[]): OfferedPackage[] {
  const chosen = new Map<string, OfferedPackage>();
  const queue: OfferedPackage[] = [];
  const choose = (offered: OfferedPackage): void => {
    if (chosen.has(offered.name)) return;
    if (chosen.size >= MAX_PACKAGES) throw new Error(`more than ${MAX_PACKAGES} packages are needed`);
    chosen.set(offered.name, offered);
    queue.push(offered);
  };
  for (const name of names) {
    const [bare = "", version] = name.split(":", 2);
    choose(repositories.newest(bare, version));
  }
  const providers = indexProviders(repositories.packages);
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    for (const need of next.requires) {
      const found = satisfy(need, providers, chosen);
      if (found === "present") continue;
      if (found === undefined) throw new Error(`no package offers ${describe(need)}, which ${next.name} needs`);
      choose(found);
    }
  }
  return [...chosen.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

type Providers = ReadonlyMap<string, { offered: OfferedPackage; capability: RpmCapability }[]>;

function indexProviders(packages: readonly OfferedPackage[]): Providers {
  const providers = new Map<string, { offered: OfferedPackage; capability: RpmCapability }[]>();
  const add = (capability: RpmCapability, offered: OfferedPackage) => {
    const list = providers.get(capability.name);
    if (list === undefined) providers.set(capability.name, [{ offered, capability }]);
    else list.push({ offered, capability });
  };
  for (const offered of packages) {
    for (const capability of offered.provides) add(capability, offered);
    for (const file of offered.files) add({ name: file }, offered);
  }
  return providers;
}

function satisfy(
  need: RpmCapability,
  providers: Providers,
  chosen: ReadonlyMap<string, OfferedPackage>,
): OfferedPackage | "present" | undefined {
  if (providedByImage.test(need.name)) return "present";
  if (need.name.startsWith("(")) return satisfyAlternatives(need.name, providers, chosen);
  const offers = (providers.get(need.name) ?? []).filter(({ capability }) => fits(capability, need));
  if (offers.some(({ offered }) => chosen.get(offered.name) === offered)) return "present";
  // A package that was chosen in another version cannot be there twice.
  const candidates = offers.map(({ offered }) => offered).filter(({ name }) => !chosen.has(name));
  return candidates.sort(
    (a, b) =>
      Number(b.name === need.name) - Number(a.name === need.name) ||
      a.name.length - b.name.length ||
      (a.name < b.name ? -1 : a.name > b.name ? 1 : 0) ||
      compareRpmVersions(b, a),
  )[0];
}

/** `(a or b)`: the first that can be had. Other rich dependencies are refused by whoever asked. */
function satisfyAlternatives(text: string, providers: Providers, chosen: ReadonlyMap<string, OfferedPackage>) {
  const alternatives = text.slice(1, -1).split(" or ").map(parseNeed);
  const answers = alternatives.map((need) => need && satisfy(need, providers, chosen));
  return answers.includes("present") ? "present" : answers.find((answer) => answer !== undefined);
}

function parseNeed(text: string): RpmCapability | undefined {
  const [name, operator, version, ...others] = text.trim().split(/\s+/);
  if (name === undefined || others.length > 0) return undefined;
  if (operator === undefined) return { name };
  const comparison = ({ "=": "EQ", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE" } as const)[operator];
  const [, epoch = "0", number = "", release] = /^(?:(\d+):)?([^-]*)(?:-(.*))?$/.exec(version ?? "") ?? [];
  if (comparison === undefined || number === "") return undefined;
  return { name, comparison, version: { epoch: Number(epoch), version: number, ...(release && { release }) } };
}

/** Whether an offer meets a need. An offer without a version meets needs without a version only. */
function fits(offer: RpmCapability, need: RpmCapability): boolean {
  if (need.version === undefined || need.comparison === undefined) return true;
  if (offer.version === undefined) return false;
  const order = compareRpmVersions(offer.version, need.version);
  switch (need.comparison) {
    case "EQ":
      return order === 0;
    case "LT":
      return order < 0;
    case "LE":
      return order <= 0;
    case "GT":
      return order > 0;
    case "GE":
      return order >= 0;
  }
}

const signs = { EQ: "=", LT: "<", LE: "<=", GT: ">", GE: ">=" } as const;

function describe({ name, comparison, version }: RpmCapability): string {
  if (comparison === undefined || version === undefined) return name;
  return `${name} ${signs[comparison]} ${version.version}${version.release === undefined ? "" : `-${version.release}`}`;
}
