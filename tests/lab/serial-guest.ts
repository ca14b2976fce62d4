/**
 * A guest of some 180 bytes in real mode, on a bootable CD image. It answers on its serial ports as soon as the firmware has
 * loaded it, so that tests of the hypervisor need no kernel.
 *
 * It prints "UP\n" on COM1, then obeys single bytes on COM2:
 *   p  power off by ACPI (port 0x604)
 *   r  reset (port 0xcf9)
 *   g  send the guest RPC frame that the image carries to COM4 and copy the reply frame to COM1
 *   any other byte: count it, and answer the next character of '1', '2', '3' … from a counter in memory
 */
const code = Buffer.from(
  `ea057c000031c08ed88ed0bc007cfac606000630baf803b055e87600b050
e87100b00ae86c00bafd02eca80174f8baf802ec3c7074173c72741c3c67
7420fe060006a00006baf802e84700ebd9ba0406b80020efebd0baf90cb0
06eeebc8bea17cac84c07408bae802e82600ebf3b300baed02eca80174f8
bae802ec88c4baf803e80e0080fcc075e7fec380fb0275e0eb945083c205
eca82074fb83ea0558eec3`.replaceAll("\n", ""),
  "hex",
);

const SECTOR = 2048;
const CATALOG = 19;
const IMAGE = 20;
/** El Torito counts what firmware loads in units of 512 bytes. */
const LOADED_UNITS = 4;

/** ISO 9660 with an El Torito "no emulation" boot image, without files. `request` must not contain a zero byte. */
export function serialGuestIso(request: Uint8Array = new Uint8Array()): Uint8Array {
  const iso = Buffer.alloc((IMAGE + 1) * SECTOR);
  const descriptor = (sector: number, type: number) => {
    iso.writeUInt8(type, sector * SECTOR);
    iso.write("CD001\x01", sector * SECTOR + 1, "latin1");
  };
  descriptor(16, 1);
  descriptor(17, 0);
  iso.write("EL TORITO SPECIFICATION", 17 * SECTOR + 7, "latin1");
  iso.writeUInt32LE(CATALOG, 17 * SECTOR + 0x47);
  descriptor(18, 255);
  const catalog = CATALOG * SECTOR;
  iso.writeUInt8(1, catalog);
  iso.writeUInt16LE(0xaa55, catalog + 30);
  // The sixteen words of the validation entry add up to zero.
  iso.writeUInt16LE(0x10000 - 0xaa55 - 1, catalog + 28);
  iso.writeUInt8(0x88, catalog + 32);
  iso.writeUInt16LE(LOADED_UNITS, catalog + 38);
  iso.writeUInt32LE(IMAGE, catalog + 40);
  iso.set(code, IMAGE * SECTOR);
  iso.set(request, IMAGE * SECTOR + code.length);
  return iso;
}
