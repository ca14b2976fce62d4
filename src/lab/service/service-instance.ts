import type { LabContext } from "../inventory/context.ts";
import { type DataObject, data } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import { aboutInfo } from "./about.ts";

/** The root of the API, the one reference that clients know in advance. */
export class ServiceInstance extends ManagedObject {
  constructor(context: LabContext) {
    super(context.registry, { type: "ServiceInstance", value: "ServiceInstance" });
    const center = context.naming.personality === "VirtualCenter";
    const content = (): DataObject => {
      const { content: c } = context;
      return data("ServiceContent", {
        rootFolder: c.rootFolder,
        propertyCollector: c.propertyCollector,
        viewManager: c.viewManager,
        about: aboutInfo({
          personality: context.naming.personality,
          instanceUuid: context.store.inventory.instanceUuid,
        }),
        setting: c.setting,
        sessionManager: c.sessionManager,
        authorizationManager: c.authorizationManager,
        eventManager: c.eventManager,
        taskManager: c.taskManager,
        licenseManager: c.licenseManager,
        searchIndex: c.searchIndex,
        fileManager: c.fileManager,
        virtualDiskManager: c.virtualDiskManager,
        perfManager: c.perfManager,
        guestOperationsManager: c.guestOperationsManager,
        customFieldsManager: c.customFieldsManager,
        extensionManager: c.extensionManager,
        ovfManager: c.ovfManager,
        dvSwitchManager: c.dvSwitchManager,
        vStorageObjectManager: c.vStorageObjectManager,
        diagnosticManager: c.diagnosticManager,
        storageResourceManager: c.storageResourceManager,
        datastoreNamespaceManager: c.datastoreNamespaceManager,
      });
    };
    this.properties({
      serverClock: () => new Date(),
      content,
      capability: () =>
        data("Capability", {
          provisioningSupported: true,
          multiHostSupported: center,
          userShellAccessSupported: false,
        }),
    });
    this.methods({ RetrieveServiceContent: content, CurrentTime: () => new Date() });
  }
}
