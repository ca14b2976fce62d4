"""Methods that vSphere serves and its clients use, but that no public table lists."""

from tables import DataType, Field, Method

OPTIONAL = True


def add_internal_methods(tables):
    name = lambda n, optional=False: Field(n, "string", optional, "")
    datacenter = lambda n: Field(n, "→Datacenter", True, "")
    # pyVmomi reads every single property with this one.
    tables.methods["Fetch"] = Method(
        "Fetch", "fetch", "ManagedObject", [name("prop")], "anyType", True, "", "System.Anonymous", ["InvalidProperty"]
    )
    tables.data["VirtualDiskInfo"] = DataType(
        "VirtualDiskInfo",
        "vim.VirtualDiskManager.DiskInfo",
        "",
        [Field("unit", "VirtualDiskUnit", False, ""), name("diskType"), name("parent", OPTIONAL)],
    )
    tables.data["VirtualDiskUnit"] = DataType("VirtualDiskUnit", "vim.VirtualDiskManager.DiskUnit", "", [name("name")])
    faults = ["FileFault", "InvalidDatastore"]
    tables.methods["QueryVirtualDiskInfo_Task"] = Method(
        "QueryVirtualDiskInfo_Task",
        "queryVirtualDiskInfo",
        "VirtualDiskManager",
        [name("name"), datacenter("datacenter"), Field("includeParents", "boolean", False, "")],
        "→Task",
        False,
        "VirtualDiskInfo[]",
        "System.View",
        faults,
        True,
    )
    tables.methods["CreateChildDisk_Task"] = Method(
        "CreateChildDisk_Task",
        "createChildDisk",
        "VirtualDiskManager",
        [
            name("childName"),
            datacenter("childDatacenter"),
            name("parentName"),
            datacenter("parentDatacenter"),
            Field("isLinkedClone", "boolean", False, ""),
        ],
        "→Task",
        False,
        "string",
        "System.View",
        faults,
        True,
    )
    tables.data["DisabledMethodRequest"] = DataType(
        "DisabledMethodRequest",
        "vim.AuthorizationManager.DisabledMethodRequest",
        "",
        [name("method"), name("reasonId")],
    )
    entities = Field("entity", "→ManagedEntity[]", False, "")
    tables.methods["DisableMethods"] = Method(
        "DisableMethods",
        "disableMethods",
        "AuthorizationManager",
        [entities, Field("method", "DisabledMethodRequest[]", False, ""), name("sourceId"), Field("sessionScope", "boolean", True, "")],
        "void",
        False,
        "",
        "Global.DisableMethods",
        [],
        True,
    )
    tables.methods["EnableMethods"] = Method(
        "EnableMethods",
        "enableMethods",
        "AuthorizationManager",
        [entities, Field("method", "string[]", False, ""), name("sourceId")],
        "void",
        False,
        "",
        "Global.EnableMethods",
        [],
        True,
    )
