"""Drives the lab with pyVmomi as an administrator's script would. usage: pyvmomi_client.py URL HostAgent|VirtualCenter"""

import ssl
import sys
from urllib.parse import urlparse

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl


def scsi_and_disk(path):
    controller = vim.vm.device.ParaVirtualSCSIController(key=-1, busNumber=0, sharedBus="noSharing")
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=path, diskMode="persistent", thinProvisioned=True)
    disk = vim.vm.device.VirtualDisk(key=-2, controllerKey=-1, unitNumber=0, capacityInKB=16 * 1024, backing=backing)
    Spec = vim.vm.device.VirtualDeviceSpec
    return [
        Spec(operation="add", device=controller),
        Spec(operation="add", fileOperation="create", device=disk),
    ]


def nic(network):
    backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName=network)
    return vim.vm.device.VirtualDeviceSpec(
        operation="add", device=vim.vm.device.VirtualVmxnet3(key=-3, backing=backing)
    )


def expect(fault, action):
    try:
        action()
    except fault as error:
        return error
    raise AssertionError(f"{fault.__name__} was expected")


def view(content, kind):
    container = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    try:
        return list(container.view)
    finally:
        container.DestroyView()


def walk(vm):
    """Reads everything that monitoring tools read, one property after another."""
    for part in (vm.summary, vm.runtime, vm.config, vm.guest, vm.storage, vm.layoutEx, vm.capability, vm.resourceConfig):
        assert part is not None and str(part)
    assert vm.summary.config.name == vm.name and vm.runtime.host.name and vm.config.hardware.device


def watch(content, obj, paths):
    """Yields update sets as WaitForUpdatesEx brings them."""
    Collector = vmodl.query.PropertyCollector
    collector = content.propertyCollector.CreatePropertyCollector()
    collector.CreateFilter(
        Collector.FilterSpec(
            propSet=[Collector.PropertySpec(type=type(obj), pathSet=paths)], objectSet=[Collector.ObjectSpec(obj=obj)]
        ),
        True,
    )
    version = ""
    while True:
        update = collector.WaitForUpdatesEx(version, Collector.WaitOptions(maxWaitSeconds=20))
        version = update.version
        yield update


def main(url, personality):
    address = urlparse(url)
    context = ssl._create_unverified_context()
    login = dict(host=address.hostname, port=address.port, user="administrator@vsphere.local", sslContext=context)
    expect(vim.fault.InvalidLogin, lambda: SmartConnect(pwd="wrong", **login))
    service = SmartConnect(pwd="secret", **login)
    content = service.RetrieveContent()
    assert content.about.apiType == personality
    assert content.sessionManager.currentSession.userName == "administrator@vsphere.local"
    (datacenter,) = content.rootFolder.childEntity
    (host,) = view(content, vim.HostSystem)
    (store,) = view(content, vim.Datastore)
    (pool,) = view(content, vim.ResourcePool)
    assert host.summary.hardware.memorySize > 0 and store.summary.capacity > store.summary.freeSpace > 0
    assert [n.name for n in view(content, vim.Network)] == ["VM Network"]

    spec = vim.vm.ConfigSpec(
        name="py",
        memoryMB=64,
        numCPUs=1,
        annotation="made by <pyVmomi> & co",
        files=vim.vm.FileInfo(vmPathName=f"[{store.name}]"),
        deviceChange=scsi_and_disk("") + [nic("VM Network")],
        extraConfig=[vim.option.OptionValue(key="guestinfo.a", value="1")],
    )
    task = datacenter.vmFolder.CreateVM_Task(config=spec, pool=pool)
    WaitForTask(task)
    vm = task.info.result
    assert vm.name == "py" and vm.config.annotation == "made by <pyVmomi> & co"
    labels = [d.deviceInfo.label for d in vm.config.hardware.device]
    assert "Hard disk 1" in labels and "Network adapter 1" in labels, labels
    assert content.searchIndex.FindByUuid(None, vm.config.uuid, True) == vm
    assert content.searchIndex.FindByInventoryPath(f"{datacenter.name}/vm/py") == vm
    WaitForTask(vm.PowerOnVM_Task())
    assert vm.runtime.powerState == "poweredOn"
    error = expect(vim.fault.InvalidPowerState, lambda: WaitForTask(vm.PowerOnVM_Task()))
    assert error.existingState == "poweredOn" and "current state" in error.msg
    expect(vim.fault.InvalidPowerState, lambda: WaitForTask(vm.Destroy_Task()))
    stale = vm.config.changeVersion
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeVersion=stale, annotation="new")))
    expect(
        vim.fault.ConcurrentAccess,
        lambda: WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeVersion=stale, annotation="newer"))),
    )
    expect(vmodl.query.InvalidProperty, lambda: content.propertyCollector.RetrieveContents([
        vmodl.query.PropertyCollector.FilterSpec(
            propSet=[vmodl.query.PropertyCollector.PropertySpec(type=vim.VirtualMachine, pathSet=["nonsense"])],
            objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=vm)],
        )
    ]))
    search = store.browser.SearchDatastoreSubFolders_Task(f"[{store.name}]")
    WaitForTask(search)
    found = {f.path for folder in search.info.result for f in folder.file}
    assert {"py.vmx", "py.vmdk"} <= found, found
    # Every property of every kind of entity can be read.
    for kind in (vim.VirtualMachine, vim.HostSystem, vim.Datastore, vim.Network, vim.ResourcePool, vim.ComputeResource):
        (entity,) = view(content, kind)
        spec = vmodl.query.PropertyCollector.FilterSpec(
            propSet=[vmodl.query.PropertyCollector.PropertySpec(type=kind, all=True)],
            objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=entity)],
        )
        (result,) = content.propertyCollector.RetrieveContents([spec])
        assert len(result.propSet) > 5
    WaitForTask(vm.PowerOffVM_Task())
    walk(vm)
    task = vm.CreateSnapshot_Task(name="first", description="", memory=False, quiesce=False)
    WaitForTask(task)
    snapshot = vm.snapshot.currentSnapshot
    assert task.info.result == snapshot and vm.snapshot.rootSnapshotList[0].name == "first"
    assert snapshot.config.annotation == "new" and snapshot.vm == vm
    updates = watch(content, vm, ["config.annotation", "snapshot"])
    next(updates)
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="after")))
    changed = {c.name: c.val for f in next(updates).filterSet for o in f.objectSet for c in o.changeSet}
    assert changed["config.annotation"] == "after", changed
    WaitForTask(snapshot.RevertToSnapshot_Task())
    assert vm.config.annotation == "new"
    if personality == "VirtualCenter":
        location = vim.vm.RelocateSpec(diskMoveType="createNewChildDiskBacking")
        clone = vim.vm.CloneSpec(location=location, powerOn=False, template=False, snapshot=snapshot)
        task = vm.CloneVM_Task(folder=vm.parent, name="copy", spec=clone)
        WaitForTask(task)
        disks = [d for d in task.info.result.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]
        assert disks[0].backing.parent.fileName.endswith("py.vmdk"), disks[0].backing
        WaitForTask(task.info.result.Destroy_Task())
    else:
        expect(vmodl.fault.NotSupported, lambda: vm.CloneVM_Task(
            folder=vm.parent, name="copy", spec=vim.vm.CloneSpec(location=vim.vm.RelocateSpec(), powerOn=False, template=False)))
    WaitForTask(vm.RemoveAllSnapshots_Task())
    assert vm.snapshot is None
    WaitForTask(vm.Destroy_Task())
    assert view(content, vim.VirtualMachine) == []
    Disconnect(service)
    print("ok")


main(*sys.argv[1:])
