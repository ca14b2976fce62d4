/**
 * A guest of 230 bytes that uses what an ordinary kernel uses first: it enters long mode with page tables of its own,
 * moves a number through the stack and an SSE register, executes CPUID, and writes the number to the debug exit port.
 * Hosts on which ordinary guests hang or abort fail it (KVM there often manages real mode and firmware).
 *
 * A Multiboot image (header at offset 0, loaded and entered at 1 MiB + 0x20). Source of the bytes:
 *
 *   entry:  cli                                   gdt: null, 64-bit code (00209a00_00000000), data (00009200_00000000)
 *           zero 12 KiB at 0x200000               ; PML4, page directory pointers, page directory
 *           [0x200000] = 0x201003; [0x201000] = 0x202003; [0x202000 + 8n] = n * 2 MiB | 0x83
 *           cr3 = 0x200000; cr4 |= PAE | OSFXSR | OSXMMEXCPT; EFER |= LME; cr0 = cr0 & ~EM | PG | MP
 *           lgdt; ljmp 8:long
 *   long:   rsp = 0x300000; ss = 0x10
 *           push 0x5a; movq xmm0, [rsp]; movq rbx, xmm0; push rbx; cpuid(0); pop rax
 *           out 0x501, al
 *   halt:   hlt; jmp halt
 */
const hexadecimal = `
02b0ad1b00000100fe4f51e4000010000000100000000000000000002000
1000fabf0000200031c0b9000c0000fcf3abc7050000200003102000c705
0010200003202000bf00202000b883000000b90002000089070500002000
83c708e2f4b8000020000f22d80f20e00d200600000f22e0b9800000c00f
320d000100000f300f20c083e0fb0d020000800f22c00f0115e0001000ea
9c0010000800bc00003000b8100000008ed06a5af30f7e042466480f7ec3
31c0530fa25866ba0105eef4ebfd660f1f44000000000000000000000000
0000009a200000000000009200001700c8001000`;

export const probeGuest: Uint8Array = Uint8Array.from(Buffer.from(hexadecimal.replaceAll(/\s/g, ""), "hex"));
/** I/O port the guest writes to. */
export const PROBE_PORT = 0x501;
/** QEMU's exit status for the number 0x5a at an isa-debug-exit device: twice the number, plus one. */
export const PROBE_EXIT_STATUS = 0x5a * 2 + 1;
