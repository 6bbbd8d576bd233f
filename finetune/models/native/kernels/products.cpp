// How long the products of this library take when nothing else is computed.
#include <chrono>
#include <vector>

#include "products.h"
#include "sharing.h"

namespace encoder {

constexpr int64_t kTimedRows = 96, kTimedWidth = 768;

// Seconds of `repeats` products (96, 768) times (768, 768) on each of `threads` threads.
template <class Stored>
double time_products(int64_t repeats, int64_t threads) {
  const std::vector<Stored> rows(kTimedRows * kTimedWidth, from_float<Stored>(0.5f));
  const std::vector<Stored> packed(packed_size(kTimedWidth, kTimedWidth), from_float<Stored>(0.5f));
  std::vector<std::vector<float>> tiles(threads, std::vector<float>(kTimedRows * kBlock));
  std::atomic<float> seen{0};
  const auto start = std::chrono::steady_clock::now();
  share_out(threads, threads, [&](int64_t task, int) {
    for (int64_t i = 0; i < repeats; i++)
      multiply_blocks(kTimedRows, kTimedWidth, kTimedWidth, rows.data(), kTimedWidth, packed.data(), tiles[task].data(),
                      [&](int64_t, int64_t, const float* tile) { seen = tile[0]; });
  });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace encoder

using namespace encoder;

extern "C" int products_time(int64_t repeats, int64_t threads, int bfloat16_products, double* seconds) {
  return guarded([&] {
#if defined(ENCODER_BRGEMM) || defined(__AVX512BF16__)
    if (bfloat16_products) return void(*seconds = time_products<bfloat16>(repeats, threads));
#endif
    *seconds = time_products<float>(repeats, threads);
  });
}
