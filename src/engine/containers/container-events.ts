/** Docker's events of containers, with Docker's attributes. */
import type { EventLog } from "../events/event-log.ts";
import type { Container } from "./container.ts";
import type { ImageMount, VolumeMount } from "./document.ts";

/** Labels, image and name, as on every container event. */
export function containerAttributes(container: Container): Record<string, string> {
  const { config, image, name } = container.document;
  return { ...config.Labels, image: image.reference, name };
}

export function publishContainer(
  events: EventLog,
  container: Container,
  action: string,
  extra: Record<string, string> = {},
): void {
  events.publish("container", action, container.id, { ...containerAttributes(container), ...extra });
}

export function publishNetworks(events: EventLog, container: Container, action: "connect" | "disconnect"): void {
  for (const [name, endpoint] of Object.entries(container.document.endpoints))
    events.publish("network", action, endpoint.networkId, {
      container: container.id,
      name,
      type: endpoint.external ? "external" : "bridge",
    });
}

export function volumeMounts(container: Container): VolumeMount[] {
  return container.document.mounts.filter((mount): mount is VolumeMount => mount.type === "volume");
}

/** Mounts that are disks of the VM. */
export function diskMounts(container: Container): (VolumeMount | ImageMount)[] {
  return container.document.mounts.filter(
    (mount): mount is VolumeMount | ImageMount => mount.type === "volume" || mount.type === "image",
  );
}

export function publishVolumes(events: EventLog, container: Container, action: "mount" | "unmount"): void {
  for (const mount of volumeMounts(container))
    events.publish("volume", action, mount.name, {
      container: container.id,
      ...(action === "mount"
        ? {
            destination: mount.destination,
            driver: mount.driver,
            propagation: "",
            "read/write": String(!mount.readOnly),
          }
        : { driver: mount.driver }),
    });
}
