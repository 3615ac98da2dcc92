// The 151 official instructions of the 6502 in one table: code, operation, addressing mode, cycles.
//
// READ    the operation takes the byte at the address; a page crossing costs a cycle more
// WRITE   the operation returns the byte to store; a page crossing costs nothing more
// MODIFY  the byte at the address is read, changed and written back
// BRANCH  taken if the flag has the given value: one cycle more, two if the target is on another page
// OTHER   instructions with their own addressing
//
// Source: https://www.nesdev.org/obelisk-6502-guide/reference.html
#pragma once

// clang-format off
#define A3G_OPCODES(READ, WRITE, MODIFY, BRANCH, OTHER)                                     \
  READ(69, adc, immediate, 2)   READ(65, adc, zero_page, 3)   READ(75, adc, zero_page_x, 4) \
  READ(6D, adc, absolute, 4)    READ(7D, adc, absolute_x, 4)  READ(79, adc, absolute_y, 4)  \
  READ(61, adc, indirect_x, 6)  READ(71, adc, indirect_y, 5)                                \
  READ(29, and_, immediate, 2)  READ(25, and_, zero_page, 3)  READ(35, and_, zero_page_x, 4)\
  READ(2D, and_, absolute, 4)   READ(3D, and_, absolute_x, 4) READ(39, and_, absolute_y, 4) \
  READ(21, and_, indirect_x, 6) READ(31, and_, indirect_y, 5)                               \
  READ(24, bit, zero_page, 3)   READ(2C, bit, absolute, 4)                                  \
  READ(C9, cmp, immediate, 2)   READ(C5, cmp, zero_page, 3)   READ(D5, cmp, zero_page_x, 4) \
  READ(CD, cmp, absolute, 4)    READ(DD, cmp, absolute_x, 4)  READ(D9, cmp, absolute_y, 4)  \
  READ(C1, cmp, indirect_x, 6)  READ(D1, cmp, indirect_y, 5)                                \
  READ(E0, cpx, immediate, 2)   READ(E4, cpx, zero_page, 3)   READ(EC, cpx, absolute, 4)    \
  READ(C0, cpy, immediate, 2)   READ(C4, cpy, zero_page, 3)   READ(CC, cpy, absolute, 4)    \
  READ(49, eor, immediate, 2)   READ(45, eor, zero_page, 3)   READ(55, eor, zero_page_x, 4) \
  READ(4D, eor, absolute, 4)    READ(5D, eor, absolute_x, 4)  READ(59, eor, absolute_y, 4)  \
  READ(41, eor, indirect_x, 6)  READ(51, eor, indirect_y, 5)                                \
  READ(A9, lda, immediate, 2)   READ(A5, lda, zero_page, 3)   READ(B5, lda, zero_page_x, 4) \
  READ(BD, lda, absolute_x, 4)  READ(B9, lda, absolute_y, 4)                                \
  READ(A1, lda, indirect_x, 6)  READ(B1, lda, indirect_y, 5)                                \
  READ(A2, ldx, immediate, 2)   READ(A6, ldx, zero_page, 3)   READ(B6, ldx, zero_page_y, 4) \
  READ(AE, ldx, absolute, 4)    READ(BE, ldx, absolute_y, 4)                                \
  READ(A0, ldy, immediate, 2)   READ(A4, ldy, zero_page, 3)   READ(B4, ldy, zero_page_x, 4) \
  READ(AC, ldy, absolute, 4)    READ(BC, ldy, absolute_x, 4)                                \
  READ(09, ora, immediate, 2)   READ(05, ora, zero_page, 3)   READ(15, ora, zero_page_x, 4) \
  READ(0D, ora, absolute, 4)    READ(1D, ora, absolute_x, 4)  READ(19, ora, absolute_y, 4)  \
  READ(01, ora, indirect_x, 6)  READ(11, ora, indirect_y, 5)                                \
  READ(E9, sbc, immediate, 2)   READ(E5, sbc, zero_page, 3)   READ(F5, sbc, zero_page_x, 4) \
  READ(ED, sbc, absolute, 4)    READ(FD, sbc, absolute_x, 4)  READ(F9, sbc, absolute_y, 4)  \
  READ(E1, sbc, indirect_x, 6)  READ(F1, sbc, indirect_y, 5)                                \
  WRITE(85, sta, zero_page, 3)  WRITE(95, sta, zero_page_x, 4) WRITE(8D, sta, absolute, 4)  \
  WRITE(9D, sta, absolute_x, 5) WRITE(99, sta, absolute_y, 5)                               \
  WRITE(81, sta, indirect_x, 6) WRITE(91, sta, indirect_y, 6)                               \
  WRITE(86, stx, zero_page, 3)  WRITE(96, stx, zero_page_y, 4) WRITE(8E, stx, absolute, 4)  \
  WRITE(84, sty, zero_page, 3)  WRITE(94, sty, zero_page_x, 4) WRITE(8C, sty, absolute, 4)  \
  MODIFY(06, asl, zero_page, 5) MODIFY(16, asl, zero_page_x, 6)                             \
  MODIFY(0E, asl, absolute, 6)  MODIFY(1E, asl, absolute_x, 7)                              \
  MODIFY(C6, dec, zero_page, 5) MODIFY(D6, dec, zero_page_x, 6)                             \
  MODIFY(CE, dec, absolute, 6)  MODIFY(DE, dec, absolute_x, 7)                              \
  MODIFY(E6, inc, zero_page, 5) MODIFY(F6, inc, zero_page_x, 6)                             \
  MODIFY(EE, inc, absolute, 6)  MODIFY(FE, inc, absolute_x, 7)                              \
  MODIFY(46, lsr, zero_page, 5) MODIFY(56, lsr, zero_page_x, 6)                             \
  MODIFY(4E, lsr, absolute, 6)  MODIFY(5E, lsr, absolute_x, 7)                              \
  MODIFY(26, rol, zero_page, 5) MODIFY(36, rol, zero_page_x, 6)                             \
  MODIFY(2E, rol, absolute, 6)  MODIFY(3E, rol, absolute_x, 7)                              \
  MODIFY(66, ror, zero_page, 5) MODIFY(76, ror, zero_page_x, 6)                             \
  MODIFY(6E, ror, absolute, 6)  MODIFY(7E, ror, absolute_x, 7)                              \
  BRANCH(10, negative_set, false) BRANCH(30, negative_set, true)                            \
  BRANCH(50, overflow_set, false) BRANCH(70, overflow_set, true)                            \
  BRANCH(90, carry_set, false)    BRANCH(B0, carry_set, true)                               \
  BRANCH(D0, zero_set, false)     BRANCH(F0, zero_set, true)                                \
  OTHER(AD, lda_absolute, 4)    /* apart, because the wait for sprite 0 starts with it */   \
  OTHER(0A, asl_a, 2) OTHER(4A, lsr_a, 2) OTHER(2A, rol_a, 2) OTHER(6A, ror_a, 2)           \
  OTHER(AA, tax, 2)   OTHER(A8, tay, 2)   OTHER(8A, txa, 2)   OTHER(98, tya, 2)             \
  OTHER(BA, tsx, 2)   OTHER(9A, txs, 2)   OTHER(EA, nop, 2)                                 \
  OTHER(E8, inx, 2)   OTHER(C8, iny, 2)   OTHER(CA, dex, 2)   OTHER(88, dey, 2)             \
  OTHER(18, clc, 2)   OTHER(38, sec, 2)   OTHER(58, cli, 2)   OTHER(78, sei, 2)             \
  OTHER(B8, clv, 2)   OTHER(D8, cld, 2)   OTHER(F8, sed, 2)                                 \
  OTHER(48, pha, 3)   OTHER(08, php, 3)   OTHER(68, pla, 4)   OTHER(28, plp, 4)             \
  OTHER(4C, jmp_absolute, 3)    OTHER(6C, jmp_indirect, 5)                                  \
  OTHER(20, jsr, 6)   OTHER(60, rts, 6)   OTHER(40, rti, 6)   OTHER(00, brk, 7)
// clang-format on
