//! Running one instruction on the host CPU.

/// A 512-byte FXSAVE image.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct Image(pub [u8; 512]);

#[repr(C, align(64))]
struct Area {
    image: Image,
    out: Image,
    mem: [u8; 128],
    /// rax, rflags, saved MXCSR.
    regs: [u64; 3],
}

/// A page of code around one instruction.
pub struct Cpu {
    page: *mut u8,
    area: Box<Area>,
}

const PAGE: usize = 4096;

impl Cpu {
    pub fn new(insn: &[u8]) -> Cpu {
        // SAFETY: a fresh anonymous mapping.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(page, libc::MAP_FAILED);
        let mut code = Vec::new();
        code.extend([0x41, 0x0f, 0xae, 0x59, 0x10]); // stmxcsr [r9+16]
        code.extend([0x48, 0x0f, 0xae, 0x0f]); // fxrstor64 [rdi]
        code.extend([0x4c, 0x89, 0xc0]); // mov rax, r8
        code.extend([0x48, 0x89, 0xd7]); // mov rdi, rdx
        code.extend([0x51, 0x9d]); // push rcx; popfq
        code.extend(insn);
        code.extend([0x49, 0x89, 0x01]); // mov [r9], rax
        code.extend([0x48, 0x0f, 0xae, 0x06]); // fxsave64 [rsi]
        code.extend([0x9c, 0x58, 0x49, 0x89, 0x41, 0x08]); // pushfq; pop rax; mov [r9+8], rax
        code.extend([0xdb, 0xe3, 0x41, 0x0f, 0xae, 0x51, 0x10, 0xc3]); // fninit; ldmxcsr [r9+16]; ret
        assert!(code.len() < PAGE);
        // SAFETY: the code fits the writable page.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), page.cast(), code.len()) };
        let area = Area { image: Image([0; 512]), out: Image([0; 512]), mem: [0; 128], regs: [0; 3] };
        Cpu { page: page.cast(), area: Box::new(area) }
    }

    /// Runs the instruction with rdx and rdi pointing at a copy of `mem`: (state, memory, rax, rflags) after it.
    pub fn run(&mut self, image: &Image, mem: &[u8; 128], rax: u64, rflags: u64) -> (Image, [u8; 128], u64, u64) {
        let a = &mut *self.area;
        a.image = image.clone();
        a.mem = *mem;
        type Code = unsafe extern "sysv64" fn(*const Image, *mut Image, *mut u8, u64, u64, *mut u64);
        // SAFETY: the page holds a function of this type; it changes caller-saved registers only and writes to `area` only.
        unsafe {
            let code = std::mem::transmute::<*mut u8, Code>(self.page);
            code(&a.image, &mut a.out, a.mem.as_mut_ptr(), rflags, rax, a.regs.as_mut_ptr());
        }
        (a.out.clone(), a.mem, a.regs[0], a.regs[1])
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        // SAFETY: `page` was mapped by `new` with this length.
        unsafe { libc::munmap(self.page.cast(), PAGE) };
    }
}
