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
    WaitForTask(vm.Destroy_Task())
    assert view(content, vim.VirtualMachine) == []
    Disconnect(service)
    print("ok")


main(*sys.argv[1:])
