/** The serial ports of one machine that go through a concentrator. */
import { isProxied, type MachineDefinition, type ProxiedSerialPort } from "../contract.ts";
import type { RunFiles } from "../qemu/naming.ts";
import { ProxiedPort } from "./proxied-port.ts";
import type { ProxiedService } from "./proxy-connection.ts";

export class ProxiedPorts {
  readonly #ports: Map<number, ProxiedPort>;
  readonly #vm: ProxiedService["vm"];

  private constructor(ports: Map<number, ProxiedPort>, vm: ProxiedService["vm"]) {
    this.#ports = ports;
    this.#vm = vm;
  }

  /** Rejects when QEMU does not listen. */
  static async open(
    definition: MachineDefinition,
    files: RunFiles,
    log: (message: string) => void,
  ): Promise<ProxiedPorts> {
    const vm = { name: definition.name, uuid: definition.uuid };
    const ports = new Map<number, ProxiedPort>();
    for (const port of definition.serialPorts.filter(isProxied))
      ports.set(
        port.key,
        await ProxiedPort.open(files.serialSocket(port.key), serviceOf(port, vm), port.connected, log),
      );
    return new ProxiedPorts(ports, vm);
  }

  /** False when the machine has no such port. */
  use(port: ProxiedSerialPort): boolean {
    const known = this.#ports.get(port.key);
    known?.use(serviceOf(port, this.#vm), port.connected);
    return known !== undefined;
  }

  async move(): Promise<void> {
    await Promise.all([...this.#ports.values()].map((port) => port.move()));
  }

  close(): void {
    for (const port of this.#ports.values()) port.close();
  }
}

const serviceOf = ({ backing }: ProxiedSerialPort, vm: ProxiedService["vm"]): ProxiedService => ({
  proxyUri: backing.proxyUri,
  serviceUri: backing.serviceUri,
  direction: backing.direction,
  vm,
});
