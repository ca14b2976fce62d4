import { readFileSync } from "node:fs";
import { cpus, totalmem, uptime } from "node:os";

/** This machine, as the lab's ESXi host shows it. Read once. */
export interface HostFacts {
  threads: number;
  cpuMhz: number;
  cpuModel: string;
  memoryBytes: number;
  vendor: string;
  model: string;
  bootTime: Date;
}

/** Clock shown when the machine does not tell its own. */
const DEFAULT_MHZ = 2000;

export function readHostFacts(): HostFacts {
  const processors = cpus();
  const [first] = processors;
  return {
    threads: processors.length,
    cpuMhz: first && first.speed > 0 ? first.speed : DEFAULT_MHZ,
    cpuModel: first?.model.trim() || "unknown",
    memoryBytes: totalmem(),
    vendor: dmi("sys_vendor") ?? "vch",
    model: dmi("product_name") ?? "lab",
    bootTime: new Date(Date.now() - uptime() * 1000),
  };
}

function dmi(name: string): string | undefined {
  try {
    return readFileSync(`/sys/class/dmi/id/${name}`, "utf8").trim() || undefined;
  } catch (error) {
    // Containers and small boards have no DMI.
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}
