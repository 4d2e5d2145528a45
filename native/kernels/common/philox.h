// Philox4x32-10, the counter-based generator of Salmon et al. (Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011): random bits are a
// function of key and counter alone, so a draw does not depend on what else was drawn before or beside it. constexpr: device code calls it too.
#pragma once
#include <cstdint>

namespace lantern {

struct PhiloxBits {
  uint32_t word[4];
};

constexpr PhiloxBits philox(uint32_t key0, uint32_t key1, PhiloxBits counter) {
  uint32_t(&c)[4] = counter.word;
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xd2511f53) * c[0], b = uint64_t(0xcd9e8d57) * c[2];
    counter = {{uint32_t(b >> 32) ^ c[1] ^ key0, uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ key1, uint32_t(a)}};
    key0 += 0x9e3779b9;
    key1 += 0xbb67ae85;
  }
  return counter;
}

// In [0, 1), 53 bits.
constexpr double philoxUniform(uint32_t key0, uint32_t key1, const PhiloxBits& counter) {
  const PhiloxBits bits = philox(key0, key1, counter);
  return double((uint64_t(bits.word[0]) << 21) | (bits.word[1] >> 11)) * 0x1p-53;
}

}  // namespace lantern
