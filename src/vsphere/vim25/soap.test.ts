import { describe, expect, test } from "bun:test";
import {
  decodeRequest,
  decodeResponse,
  encodeFault,
  encodeRequest,
  encodeResponse,
  type ManagedObjectReference,
  propertyType,
  type Request,
  typed,
  typedProperty,
  type VirtualDevice,
  type VirtualMachineConfigSpec,
} from "./index.ts";

const VERSION = { version: "7.0.0.0" };
const vm: ManagedObjectReference<"VirtualMachine"> = { type: "VirtualMachine", value: "vm-12" };
const collector: ManagedObjectReference<"PropertyCollector"> = {
  type: "PropertyCollector",
  value: "propertyCollector",
};

function disk(key: number): VirtualDevice {
  return {
    _type: "VirtualDisk",
    // Given in the wrong order on purpose: the schema decides.
    capacityInKB: 1024,
    unitNumber: 0,
    controllerKey: 1000,
    backing: {
      _type: "VirtualDiskFlatVer2BackingInfo",
      thinProvisioned: true,
      diskMode: "persistent",
      fileName: "[ds] a/b.vmdk",
    },
    key,
  };
}

function decode(text: string, serverVersion = "8.0.2.0"): Request {
  return decodeRequest(text, { soapAction: '"urn:vim25/8.0.2.0"', serverVersion });
}

function body(inner: string): string {
  return `<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="i" xmlns:xsd="d"><Body>${inner}</Body></Envelope>`;
}

describe("requests", () => {
  test("come back as they were given", () => {
    const spec: VirtualMachineConfigSpec = {
      changeVersion: "2026-01-01T00:00:00.123456Z",
      extraConfig: [{ _type: "OptionValue", key: "guestinfo.a", value: "<&\"'>\r\n\t é 𝄞" }],
      deviceChange: [{ _type: "VirtualDeviceConfigSpec", operation: "add", fileOperation: "create", device: disk(-1) }],
      memoryMB: 512,
      name: "x",
    };
    const text = encodeRequest("ReconfigVM_Task", vm, { spec }, { ...VERSION, operationId: "op-1" });
    const request = decode(text);
    expect(request.method).toBe("ReconfigVM_Task");
    expect(request.this).toEqual(vm);
    expect(request.operationId).toBe("op-1");
    if (request.method !== "ReconfigVM_Task") throw new Error("unreachable");
    expect(request.parameters.spec).toMatchObject(spec);
    const device = request.parameters.spec.deviceChange?.[0]?.device;
    expect(device?._type).toBe("VirtualDisk");
  });

  test("are written in the order of the actual type", () => {
    const spec = { deviceChange: [{ _type: "VirtualDeviceConfigSpec" as const, device: disk(-1) }] };
    const text = encodeRequest("ReconfigVM_Task", vm, { spec }, VERSION);
    const names = [...text.matchAll(/<([a-zA-Z]+)[ >]/g)].map((match) => match[1]);
    expect(names.slice(names.indexOf("device"))).toEqual([
      "device",
      "key",
      "backing",
      "fileName",
      "diskMode",
      "thinProvisioned",
      "controllerKey",
      "unitNumber",
      "capacityInKB",
    ]);
    expect(text).toContain('<device xsi:type="VirtualDisk">');
  });

  test("leave out what the negotiated version does not know", () => {
    const device = { ...disk(-1), guestReadOnly: true } as VirtualDevice;
    const spec = { deviceChange: [{ _type: "VirtualDeviceConfigSpec" as const, device }] };
    expect(encodeRequest("ReconfigVM_Task", vm, { spec }, VERSION)).not.toContain("guestReadOnly");
    expect(encodeRequest("ReconfigVM_Task", vm, { spec }, { version: "8.0.2.0" })).toContain("guestReadOnly");
  });

  test("refuse values that the schema does not allow", () => {
    const broken = { spec: { memory: 1 } as VirtualMachineConfigSpec };
    expect(() => encodeRequest("ReconfigVM_Task", vm, broken, VERSION)).toThrow(
      "VirtualMachineConfigSpec has no property memory",
    );
    const nul = { newName: "a\u0000b" };
    expect(() => encodeRequest("Rename_Task", vm, nul, VERSION)).toThrow("XML cannot carry");
    const missing = {} as { newName: string };
    expect(() => encodeRequest("Rename_Task", vm, missing, VERSION)).toThrow("Required property newName is missing");
  });
});

describe("a strict server", () => {
  const call = (inner: string) =>
    body(`<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this>${inner}</ReconfigVM_Task>`);

  test.each([
    [
      "wrong order",
      "<spec><name>a</name><changeVersion>1</changeVersion></spec>",
      'Unexpected element tag "changeVersion" seen',
    ],
    ["an unknown element", "<spec><nonsense/></spec>", 'Unexpected element tag "nonsense" seen'],
    ["a repeated single value", "<spec><name>a</name><name>b</name></spec>", 'Unexpected element tag "name" seen'],
    ["a missing parameter", "", "Required property spec is missing"],
    [
      "a missing property",
      '<spec><extraConfig xsi:type="OptionValue"><value xsi:type="xsd:string"/></extraConfig></spec>',
      "seen|Required property key",
    ],
    [
      "an unknown type",
      '<spec><extraConfig xsi:type="Nonsense"/></spec>',
      "Type Nonsense is not a known subtype of OptionValue",
    ],
    ["a type that does not fit", '<spec><extraConfig xsi:type="VirtualDisk"/></spec>', "not a known subtype"],
    [
      "an empty enumeration value",
      "<spec><deviceChange><operation></operation></deviceChange></spec>",
      'Invalid value ""',
    ],
    ["an integer out of range", "<spec><numCPUs>4294967296</numCPUs></spec>", "for type int"],
  ])("refuses %s", (_what, inner, message) => {
    expect(() => decode(call(inner))).toThrow(new RegExp(message));
  });

  test("keeps the trail of a deep failure short", () => {
    let nested = "";
    for (let i = 0; i < 80; i++) nested += "<parent><fileName>a</fileName><diskMode>persistent</diskMode>";
    const text = call(
      `<spec><deviceChange><device xsi:type="VirtualDisk"><key>1</key><backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>a</fileName><diskMode>p</diskMode>${nested}<oops/>`,
    );
    let message = "";
    try {
      decode(text);
    } catch (error) {
      if (error instanceof Error) message = error.message;
    }
    expect(message).toStartWith('Unexpected element tag "oops" seen');
    expect(message.match(/while parsing/g)?.length).toBe(16);
  });

  test("says where", () => {
    expect(() => decode(call("<spec><nonsense/></spec>"))).toThrow(
      /^Unexpected element tag "nonsense" seen\n\nwhile parsing serialized DataObject of type vim\.vm\.ConfigSpec\nat line 1, column \d+\n\nwhile parsing call information for method ReconfigVM_Task\nat line 1, column \d+\n\nwhile parsing SOAP body\nat line 1, column \d+\n\nwhile parsing SOAP envelope\nat line 1, column 0$/,
    );
  });

  test("refuses fields newer than itself", () => {
    const disk9 =
      '<spec><deviceChange><device xsi:type="VirtualDisk"><key>1</key><capacityInKB>1</capacityInKB><guestReadOnly>1</guestReadOnly></device></deviceChange></spec>';
    expect(() => decode(call(disk9), "7.0.3.0")).toThrow('Unexpected element tag "guestReadOnly" seen');
    expect(decode(call(disk9), "8.0.2.0").method).toBe("ReconfigVM_Task");
  });

  test("reads pyVmomi's Fetch and its versionId attributes", () => {
    const text =
      '<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Header><vcSessionCookie>x</vcSessionCookie></soapenv:Header>' +
      '<soapenv:Body><Fetch xmlns="urn:vim25"><_this versionId="8.0.2.0" type="VirtualMachine">vm-1</_this><prop>config.name</prop></Fetch></soapenv:Body></soapenv:Envelope>';
    const request = decode(text);
    if (request.method !== "Fetch") throw new Error("not Fetch");
    expect(request.parameters.prop).toBe("config.name");
  });

  test("refuses unknown methods, document types, entities, depth", () => {
    expect(() => decode(body("<Nonsense/>"))).toThrow("Unable to resolve WSDL method name Nonsense");
    expect(() => decode(`<!DOCTYPE a>${body("")}`)).toThrow("Document type");
    expect(() => decode(call("<spec><name>&xxe;</name></spec>"))).toThrow('Unknown entity "xxe"');
    let nested = "";
    for (let i = 0; i < 120; i++) nested += "<parent><fileName>a</fileName><diskMode>persistent</diskMode>";
    const deep = `<spec><deviceChange><device xsi:type="VirtualDisk"><key>1</key><backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>a</fileName><diskMode>p</diskMode>${nested}`;
    expect(() => decode(call(deep))).toThrow("XML element depth exceeds configured maximum 100");
    expect(() => decode("<Envelope><Body><CurrentTime>")).toThrow("Unexpected end of the document");
  });
});

describe("responses", () => {
  test("carry properties with the types the schema declares", () => {
    const response = encodeResponse(
      "RetrievePropertiesEx",
      {
        objects: [
          {
            obj: vm,
            propSet: [
              {
                name: "config.hardware.device",
                val: typedProperty("VirtualMachine", "config.hardware.device", [disk(2000)]),
              },
              { name: "runtime.powerState", val: typedProperty("VirtualMachine", "runtime.powerState", "poweredOn") },
              { name: "datastore", val: typed("→Datastore[]", []) },
              {
                name: "summary.storage.committed",
                val: typedProperty("VirtualMachine", "summary.storage.committed", 2 ** 40),
              },
              { name: "name", val: "x" },
            ],
          },
        ],
      },
      { version: "8.0.2.0" },
    );
    expect(response).toContain(
      '<val xsi:type="ArrayOfVirtualDevice"><VirtualDevice xsi:type="VirtualDisk"><key>2000</key>',
    );
    expect(response).toContain('<val xsi:type="VirtualMachinePowerState">poweredOn</val>');
    expect(response).toContain('<val xsi:type="ArrayOfManagedObjectReference"></val>');
    expect(response).toContain('<val xsi:type="xsd:long">1099511627776</val>');
    const decoded = decodeResponse("RetrievePropertiesEx", response);
    if (!decoded.ok || !decoded.result) throw new Error("no result");
    const values = decoded.result.objects[0]?.propSet?.map((property) => property.val);
    expect(values).toMatchObject([[disk(2000)], "poweredOn", [], 2 ** 40, "x"]);
  });

  test("of void and empty optional results", () => {
    const logout = encodeResponse("Logout", undefined, VERSION);
    expect(decodeResponse("Logout", logout)).toEqual({ ok: true, result: undefined });
    const none = encodeResponse("WaitForUpdatesEx", undefined, VERSION);
    expect(decodeResponse("WaitForUpdatesEx", none)).toEqual({ ok: true, result: undefined });
    expect(decodeResponse("FindAllByUuid", encodeResponse("FindAllByUuid", [vm, vm], VERSION))).toEqual({
      ok: true,
      result: [vm, vm],
    });
  });

  test("carry faults with their details", () => {
    const text = encodeFault({ _type: "InvalidPowerState", existingState: "poweredOn" }, "Not in this state", VERSION);
    expect(text).toContain('<detail><InvalidPowerStateFault xmlns="urn:vim25" xsi:type="InvalidPowerState">');
    expect(decodeResponse("PowerOnVM_Task", text)).toEqual({
      ok: false,
      fault: {
        fault: "InvalidPowerState",
        message: "Not in this state",
        detail: { _type: "InvalidPowerState", existingState: "poweredOn" },
      },
    });
  });

  test("of newer servers are read as far as they are known", () => {
    const text = body(
      '<CreateFilterResponse xmlns="urn:vim25"><surprise><a>1</a></surprise><returnval type="PropertyFilter">session[1]2</returnval></CreateFilterResponse>',
    );
    expect(decodeResponse("CreateFilter", text)).toEqual({
      ok: true,
      result: { type: "PropertyFilter", value: "session[1]2" },
    });
    const set = body(
      '<WaitForUpdatesExResponse><returnval><version>1</version><filterSet><filter type="PropertyFilter">f</filter><objectSet><kind>modify</kind><obj type="VirtualMachine">vm-1</obj><changeSet><name>x</name><op>assign</op><val xmlns:q="i" q:type="BrandNew"><a q:type="xsd:int">1</a><b>x</b><b>y</b></val></changeSet></objectSet></filterSet></returnval></WaitForUpdatesExResponse>',
    );
    const decoded = decodeResponse("WaitForUpdatesEx", set);
    if (!decoded.ok || !decoded.result) throw new Error("no result");
    expect(decoded.result.filterSet?.[0]?.objectSet?.[0]?.changeSet?.[0]?.val as unknown).toEqual({
      _type: "BrandNew",
      a: 1,
      b: ["x", "y"],
    });
  });

  test("keep 64-bit integers exact and replace what XML cannot carry", () => {
    const big = 2n ** 62n + 1n;
    const text = encodeResponse("Fetch", [typed("long", big), "a\u0001"], {
      version: "8.0.2.0",
      invalidCharacters: "replace",
    });
    expect(decodeResponse("Fetch", text)).toEqual({ ok: true, result: [big, "a\ufffd"] });
  });
});

test("property paths have declared types", () => {
  expect(propertyType("VirtualMachine", 'config.extraConfig["guestinfo.x"]')).toEqual({
    type: "OptionValue",
    kind: "object",
    array: false,
  });
  expect(propertyType("VirtualMachine", "config.hardware.device")).toEqual({
    type: "VirtualDevice",
    kind: "object",
    array: true,
  });
  expect(propertyType("VirtualMachine", "config.hardware.device[2000].capacityInKB")?.kind).toBe("long");
  expect(propertyType("VirtualMachine", "name")?.kind).toBe("string");
  expect(propertyType("VirtualMachine", "nonsense")).toBeUndefined();
  expect(collector.type).toBe("PropertyCollector");
});
