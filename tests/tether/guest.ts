/** Boots VMs from a bootstrap ISO with the real tether, as the lab does: PVSCSI disks, vmxnet3, RPCI on COM4. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buildIso } from "../../iso-builder";
import { defaultKernelPackage, defaultPackages, fetchDebianPackages } from "../../iso-builder/packages";
import { isolinuxBoot, readIsoFile } from "../../src/format/iso9660";
import { RpciServer } from "../../src/lab/hypervisor/rpci-server";
import { pemFingerprint } from "../../src/link/fingerprint";
import type { ContainerConfiguration, GuestConfiguration, GuestState } from "../../src/link/guest-configuration";
import { STATE_KEY } from "../../src/link/guest-configuration";
import { decodeState, encodeConfiguration } from "../../src/link/guest-configuration-codec";
import { listenForTethers, type TetherListener } from "../../src/link/server";
import type { Session } from "../../src/link/session";
import { makeTestCertificate } from "../../src/link/test-certificate";

const ROOT = resolve(import.meta.dir, "../..");
const PACKAGE_CACHE = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");
/** QEMU's user-mode network: the host as the guest sees it, and the guest's own address. */
const HOST_ADDRESS = "10.0.2.2";
const GUEST_ADDRESS = "10.0.2.15";
const MAC = "00:50:56:00:00:01";
const MEMORY_MB = Number(process.env.VCH_TEST_MEMORY ?? "512");

const run = async (command: string[]): Promise<void> => {
  const child = Bun.spawn(command, { cwd: ROOT, stdout: "ignore", stderr: "pipe" });
  const [exitCode, errors] = await Promise.all([child.exited, child.stderr.text()]);
  if (exitCode !== 0) throw new Error(`${command[0]}: ${errors}`);
};

export interface Medium {
  folder: string;
  iso: string;
  /** What isolinux would start, for booting without firmware. */
  kernel: string[];
  remove(): Promise<void>;
}

/** Compiles the tether into a folder. @returns its path */
export async function compileTether(folder: string): Promise<string> {
  const flags = ["--compile", "--splitting", "--minify", "--bytecode", "--format=esm"];
  const isolation = ["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"];
  const out = join(folder, "tether");
  const output = ["--target=bun-linux-x64", "--outfile", out];
  await run([process.execPath, "build", "tether/main.ts", ...flags, ...isolation, ...output]);
  return out;
}

/** Compiles the guest programs and builds the ISO. */
export const makeMedium = async (): Promise<Medium> => {
  const folder = await mkdtemp(join(tmpdir(), "vch-tether-"));
  await run([join(ROOT, "iso-builder/init/build.sh"), folder]);
  await run([join(ROOT, "tether/launcher/build.sh"), folder]);
  const tether = await compileTether(folder);
  const [kernel, ...others] = await fetchDebianPackages(PACKAGE_CACHE, [defaultKernelPackage(), ...defaultPackages()]);
  const iso = join(folder, "bootstrap.iso");
  await buildIso({
    kernel: { kind: "deb", path: kernel?.path ?? "" },
    packages: others.map(({ path }) => path),
    tether,
    launcher: join(folder, "launcher-x64"),
    init: join(folder, "init.x86_64"),
    out: iso,
  });
  const source = Bun.file(iso);
  const files = await isolinuxBoot(source);
  if (files === undefined) throw new Error("no kernel on the medium");
  await Bun.write(join(folder, "vmlinuz"), Buffer.concat(await Array.fromAsync(readIsoFile(source, files.kernel))));
  await Bun.write(join(folder, "initrd"), Buffer.concat(await Array.fromAsync(readIsoFile(source, files.initrd))));
  const loaded = ["-kernel", join(folder, "vmlinuz"), "-initrd", join(folder, "initrd"), "-append", files.commandLine];
  return { folder, iso, kernel: loaded, remove: () => rm(folder, { recursive: true, force: true }) };
};

export interface Guest {
  /** The first session; rejects when the VM ends before. */
  readonly session: Promise<Session>;
  readonly console: () => string;
  /** Milliseconds since QEMU was started, by event. */
  readonly times: Record<string, number>;
  state(): GuestState | undefined;
  /** Resolves with the first reported state that fits. */
  waitFor(fits: (state: GuestState) => boolean): Promise<GuestState>;
  /** Resolves when the VM is off. */
  readonly off: Promise<void>;
  kill(): Promise<void>;
}

type WithoutLink<T> = T extends GuestConfiguration ? Omit<T, "link" | "network"> & { linked?: boolean } : never;

/** Boots a VM with the raw disk files as SCSI 0:0, 0:1 … */
export const bootGuest = async (
  medium: Medium,
  partial: WithoutLink<GuestConfiguration>,
  disks: string[],
  memoryMB = MEMORY_MB,
): Promise<Guest> => {
  const { linked = true, ...rest } = partial;
  const certificate = await makeTestCertificate();
  const session = Promise.withResolvers<Session>();
  session.promise.catch(() => undefined);
  const token = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
  const times: Record<string, number> = {};
  const begun = performance.now();
  const mark = (name: string): void => {
    times[name] ??= Math.round(performance.now() - begun);
  };
  const listener: TetherListener = await listenForTethers({
    host: "127.0.0.1",
    port: 0,
    ...certificate,
    authenticate: (offered) => (offered === token ? { id: "guest" } : undefined),
    onSession: (_id, opened) => {
      mark("session");
      session.resolve(opened);
    },
  });
  const configuration = {
    ...rest,
    link: {
      carrier: "net",
      endpoints: linked ? [`${HOST_ADDRESS}:${listener.port}`] : [],
      serverFingerprint: pemFingerprint(certificate.certificatePem),
      token,
    },
    network: {
      interfaces: [
        { mac: MAC, name: "eth0", addresses: [{ address: GUEST_ADDRESS, prefixLength: 24 }], gateway: HOST_ADDRESS },
      ],
      nameservers: ["10.0.2.3"],
      search: ["example.test"],
      options: [],
      hosts: [{ address: "10.0.2.9", names: ["other"] }],
    },
  } as GuestConfiguration;
  const values = new Map(Object.entries(encodeConfiguration(configuration)));
  const watchers = new Set<(state: GuestState) => void>();
  const store = {
    get: (key: string) => {
      mark("tether");
      return values.get(key);
    },
    set: (key: string, value: string) => {
      values.set(key, value);
      const state = key === STATE_KEY ? decodeState(value) : undefined;
      if (state === undefined) return;
      mark(state.status);
      for (const watcher of watchers) watcher(state);
    },
  };

  const socket = join(medium.folder, `rpci-${crypto.randomUUID().slice(0, 8)}`);
  const drives = disks.flatMap((file, unit) => [
    "-drive",
    `if=none,id=disk${unit},format=raw,file=${file},cache=unsafe`,
    "-device",
    `scsi-hd,bus=scsi0.0,scsi-id=${unit},drive=disk${unit}`,
  ]);
  const qemu = Bun.spawn(
    // biome-ignore format: option and value belong together
    [
      "qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-cpu", "max", "-m", String(memoryMB), "-display", "none", "-nodefaults", "-no-reboot",
      "-serial", "stdio", "-serial", "none", "-serial", "none",
      "-chardev", `socket,id=rpci,path=${socket},server=on,wait=off`,
      "-device", "isa-serial,chardev=rpci,iobase=0x2e8,irq=3,index=3",
      "-device", "pvscsi,id=scsi0", ...drives,
      "-drive", `if=ide,index=0,media=cdrom,format=raw,readonly=on,file=${medium.iso}`,
      "-netdev", "user,id=net", "-device", `vmxnet3,netdev=net,mac=${MAC}`,
      ...medium.kernel,
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  let output = "";
  const reading = (async () => {
    for await (const bytes of qemu.stdout) output += Buffer.from(bytes).toString();
  })();
  const off = qemu.exited.then(async () => {
    mark("off");
    await reading;
    session.reject(new Error(`the VM is off:\n${output}`));
    await listener.close();
    await rm(socket, { force: true });
  });
  for (let attempt = 0; ; attempt++) {
    try {
      await RpciServer.connect(socket, store);
      break;
    } catch (error) {
      if (attempt === 200) throw error;
      await Bun.sleep(10);
    }
  }
  const current = (): GuestState | undefined => decodeState(values.get(STATE_KEY) ?? "");
  return {
    session: session.promise,
    console: () => output,
    times,
    state: current,
    off,
    waitFor: (fits) =>
      new Promise((resolve, reject) => {
        const check = (state: GuestState): void => {
          if (!fits(state)) return;
          watchers.delete(check);
          resolve(state);
        };
        watchers.add(check);
        const now = current();
        if (now !== undefined) check(now);
        void off.then(() => reject(new Error(`the VM is off:\n${output}`)));
      }),
    kill: async () => {
      qemu.kill(9);
      await off;
    },
  };
};

/** A container of busybox that runs `script`. */
export const containerOf = (
  script: string,
  changes: Partial<ContainerConfiguration> = {},
): Omit<ContainerConfiguration, "link" | "network"> => ({
  version: 1,
  role: "container",
  id: "c".repeat(64),
  name: "box",
  hostname: "box",
  domainname: "",
  rootDisk: { bus: 0, unit: 0 },
  readOnlyRoot: false,
  process: {
    arguments: ["/bin/sh", "-c", script],
    environment: [],
    workingDirectory: "/",
    user: "",
    additionalGroups: [],
    terminal: false,
    openStdin: false,
    stdinOnce: false,
    privileged: false,
    capabilities: ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL", "MKNOD", "NET_BIND_SERVICE"],
    noNewPrivileges: false,
    limits: [],
  },
  init: false,
  stopSignal: "SIGTERM",
  stopTimeoutSeconds: 10,
  awaitAttach: false,
  mounts: [],
  sysctls: {},
  shmSizeBytes: 64 * 1024 * 1024,
  maskedPaths: ["/proc/kcore"],
  readOnlyPaths: ["/proc/sys"],
  restart: { name: "no", maximumRetryCount: 0 },
  log: { driver: "json-file", maximumSize: 1024 * 1024, maximumFiles: 2 },
  ...changes,
});
