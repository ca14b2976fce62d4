/**
 * The vim25 codec against node-soap on a large RetrievePropertiesEx response. Prints one line per measurement.
 *
 * usage: bun tests/performance/vim25-codec.ts [VIRTUAL-MACHINES]
 */
import * as soap from "soap";
import {
  decodeResponse,
  encodeRequest,
  encodeResponse,
  type ObjectContent,
  typedProperty,
  type VirtualDevice,
} from "../../src/vsphere/vim25/index.ts";

const machines = Number(Bun.argv[2] ?? 323);
const ROUNDS = 7;

const devices: VirtualDevice[] = Array.from({ length: 14 }, (_, unit) => ({
  _type: "VirtualDisk",
  key: 2000 + unit,
  deviceInfo: { _type: "Description", label: `Hard disk ${unit + 1}`, summary: "16,777,216 KB" },
  backing: {
    _type: "VirtualDiskFlatVer2BackingInfo",
    fileName: `[datastore1] machine/disk-${unit}.vmdk`,
    datastore: { type: "Datastore", value: "datastore-12" },
    backingObjectId: "",
    diskMode: "persistent",
    split: false,
    writeThrough: false,
    thinProvisioned: true,
    uuid: "6000C29f-93a2-4c5a-1e06-0f4f83b4a5a1",
    contentId: "fffffffefffffffefffffffefffffffe",
    digestEnabled: false,
    sharing: "sharingNone",
  },
  controllerKey: 1000,
  unitNumber: unit,
  capacityInKB: 16_777_216,
  capacityInBytes: 17_179_869_184,
  shares: { shares: 1000, level: "normal" },
}));

const objects: ObjectContent[] = Array.from({ length: machines }, (_, index) => ({
  obj: { type: "VirtualMachine", value: `vm-${index}` },
  propSet: [
    { name: "config.hardware.device", val: typedProperty("VirtualMachine", "config.hardware.device", devices) },
    {
      name: "config.extraConfig",
      val: typedProperty(
        "VirtualMachine",
        "config.extraConfig",
        Array.from({ length: 40 }, (_, key) => ({
          _type: "OptionValue",
          key: `guestinfo.vch.${key}`,
          value: `value ${key}`,
        })),
      ),
    },
    { name: "name", val: `machine ${index}` },
  ],
}));

/** Just enough of a WSDL for the one response: node-soap would need 3 MB of it for the whole API. */
const WSDL = `<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:v="urn:vim25" targetNamespace="urn:vim25">
<types><xsd:schema targetNamespace="urn:vim25" elementFormDefault="qualified">
<xsd:complexType name="DynamicProperty"><xsd:sequence><xsd:element name="name" type="xsd:string"/><xsd:element name="val" type="xsd:anyType"/></xsd:sequence></xsd:complexType>
<xsd:complexType name="ObjectContent"><xsd:sequence><xsd:element name="obj" type="xsd:string"/><xsd:element name="propSet" type="v:DynamicProperty" maxOccurs="unbounded"/></xsd:sequence></xsd:complexType>
<xsd:complexType name="RetrieveResult"><xsd:sequence><xsd:element name="objects" type="v:ObjectContent" maxOccurs="unbounded"/></xsd:sequence></xsd:complexType>
<xsd:element name="RetrievePropertiesEx"><xsd:complexType/></xsd:element>
<xsd:element name="RetrievePropertiesExResponse"><xsd:complexType><xsd:sequence><xsd:element name="returnval" type="v:RetrieveResult"/></xsd:sequence></xsd:complexType></xsd:element>
</xsd:schema></types>
<message name="In"><part name="parameters" element="v:RetrievePropertiesEx"/></message><message name="Out"><part name="parameters" element="v:RetrievePropertiesExResponse"/></message>
<portType name="P"><operation name="RetrievePropertiesEx"><input message="v:In"/><output message="v:Out"/></operation></portType>
<binding name="B" type="v:P"><soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/><operation name="RetrievePropertiesEx"><soap:operation soapAction="urn:vim25"/><input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation></binding>
<service name="S"><port name="P" binding="v:B"><soap:address location="https://localhost/sdk"/></port></service></definitions>`;

function measure(what: string, bytes: number, run: () => void): void {
  const times = Array.from({ length: ROUNDS }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  const [first = 0] = times;
  const best = Math.min(...times);
  const rate = bytes > 0 ? `, ${(bytes / best / 1000).toFixed(0)} MB/s` : "";
  console.log(
    `${what.padEnd(28)} first ${first.toFixed(0).padStart(5)} ms, best ${best.toFixed(0).padStart(5)} ms${rate}`,
  );
}

let xml = "";
measure("encode the response", 0, () => {
  xml = encodeResponse("RetrievePropertiesEx", { objects }, { version: "8.0.2.0" });
});
const elements = xml.split("</").length - 1;
console.log(`${machines} VMs, ${(xml.length / 1e6).toFixed(1)} MB, ${elements} elements`);
measure("decode with the codec", xml.length, () => {
  if (!decodeResponse("RetrievePropertiesEx", xml).ok) throw new Error("fault");
});
const wsdl = await new Promise<soap.WSDL>((resolve, reject) => {
  const loaded = new soap.WSDL(WSDL, "", {});
  loaded.onReady((error) => (error ? reject(error) : resolve(loaded)));
});
measure("decode with node-soap", xml.length, () => {
  wsdl.xmlToObject(xml);
});
const vm = { type: "VirtualMachine", value: "vm-1" } as const;
const start = performance.now();
const REQUESTS = 10_000;
for (let i = 0; i < REQUESTS; i++) {
  encodeRequest(
    "ReconfigVM_Task",
    vm,
    {
      spec: {
        deviceChange: devices
          .slice(0, 2)
          .map((device) => ({ _type: "VirtualDeviceConfigSpec", operation: "add", device })),
      },
    },
    { version: "7.0.0.0" },
  );
}
console.log(`encode a reconfigure request  ${(((performance.now() - start) / REQUESTS) * 1000).toFixed(0)} µs`);
