// AdamW in one pass over parameters, gradients and moments, all float32, and the packed weights of the next forward pass.
//
//   m = m + (1 - b1) (g - m);   v = b2 v + (1 - b2) g^2;   w = (1 - lr decay) w - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
//
// (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101, algorithm 2, as torch's fused kernel orders it.) Every number is
// changed by itself, so the bits are the same for any number of threads.
#include <vector>

#include "plan.h"
#include "sharing.h"
#include "sums.h"

namespace encoder {

constexpr int64_t kPiece = 16384;  // numbers of a task
constexpr int64_t kRows = 16;      // of a weight that are packed at once

struct Update {
  float* parameter;       // (rows, columns)
  const float* gradient;  // the same
  float *mean, *square;   // the moments m and v, the same
  const float* step;      // t, one number, counted already
  int64_t rows, columns;
  void *forward, *backward;  // the weight packed (plan.h), both or neither
  double rate, beta1, beta2, epsilon, decay;
};

struct Piece {
  int64_t update, first, count;  // numbers of one parameter
};

// What one step is to one parameter.
struct Rule {
  float scale, mean_weight, square_keep, square_weight, root, epsilon, keep, size;

  Rule(const Update& update, double gradient_scale) {
    const double step = double(*update.step);
    scale = float(gradient_scale);
    mean_weight = float(1 - update.beta1);
    square_keep = float(update.beta2);
    square_weight = float(1 - update.beta2);
    root = float(1 / std::sqrt(1 - std::pow(update.beta2, step)));
    epsilon = float(update.epsilon);
    keep = float(1 - update.rate * update.decay);
    size = float(update.rate / (1 - std::pow(update.beta1, step)));
  }
};

inline void update_numbers(const Rule& rule, int64_t count, float* parameter, const float* gradient, float* mean,
                           float* square) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    const float g = gradient[i] * rule.scale;
    const float m = mean[i] + rule.mean_weight * (g - mean[i]);
    const float v = square[i] * rule.square_keep + rule.square_weight * (g * g);
    mean[i] = m;
    square[i] = v;
    parameter[i] = parameter[i] * rule.keep - rule.size * m / (std::sqrt(v) * rule.root + rule.epsilon);
  }
}

// Rows [row, row + count) of a weight, while they lie in the cache; `rounded` has room for them.
template <class Stored>
inline void pack_rows(const Update& update, int64_t row, int64_t count, std::vector<Stored>& rounded) {
  const float* weight = update.parameter + row * update.columns;
  if (int64_t(rounded.size()) < kRows * update.columns) rounded.resize(kRows * update.columns);
#pragma omp simd
  for (int64_t i = 0; i < count * update.columns; i++) rounded[i] = from_float<Stored>(weight[i]);
  const int64_t columns = update.columns;
  pack_transposed_rows(rounded.data(), columns, columns, update.rows, row, static_cast<Stored*>(update.forward),
                       true);
  pack(rounded.data(), columns, count, columns, static_cast<Stored*>(update.backward), update.rows, row, 2, true);
}

template <class Stored>
inline void run_piece(const Update& update, const Rule& rule, const Piece& piece, std::vector<Stored>& rounded) {
  const int64_t step = update.forward ? kRows * update.columns : piece.count;
  for (int64_t first = piece.first, end = piece.first + piece.count; first < end; first += step) {
    const int64_t count = std::min(step, end - first);
    update_numbers(rule, count, update.parameter + first, update.gradient + first, update.mean + first,
                   update.square + first);
    if (update.forward) pack_rows(update, first / update.columns, count / update.columns, rounded);
  }
}

// Pieces of about `kPiece` numbers: whole rows, a multiple of `kRows`, of weights that are packed.
inline std::vector<Piece> cut(const Update* updates, int64_t count) {
  std::vector<Piece> pieces;
  for (int64_t u = 0; u < count; u++) {
    const int64_t size = updates[u].rows * updates[u].columns;
    const int64_t step = updates[u].forward ? round_up(kPiece, kRows * updates[u].columns) : kPiece;
    for (int64_t first = 0; first < size; first += step) pieces.push_back({u, first, std::min(step, size - first)});
  }
  return pieces;
}

template <class Stored>
void run_updates(const Update* updates, int64_t count, double scale, int64_t threads) {
  const std::vector<Piece> pieces = cut(updates, count);
  std::vector<Rule> rules;
  for (int64_t u = 0; u < count; u++) rules.emplace_back(updates[u], scale);
  std::vector<std::vector<Stored>> rounded(threads);
  share_out(int64_t(pieces.size()), threads, [&](int64_t task, int thread) {
    const Piece& piece = pieces[task];
    run_piece(updates[piece.update], rules[piece.update], piece, rounded[thread]);
  });
}

// The sum of squares: short runs in float32 lanes, then float64 in their order.
inline double sum_squares(const Update* updates, int64_t count, int64_t threads) {
  const std::vector<Piece> pieces = cut(updates, count);
  std::vector<double> sums(pieces.size());
  share_out(int64_t(pieces.size()), threads, [&](int64_t task, int) {
    const float* gradient = updates[pieces[task].update].gradient + pieces[task].first;
    for (int64_t first = 0; first < pieces[task].count; first += 1024)
      sums[task] += double(dot_of(gradient + first, gradient + first, std::min<int64_t>(1024, pieces[task].count - first)));
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

}  // namespace encoder

using namespace encoder;

extern "C" {

int optimizer_update(const Update* updates, int64_t count, double gradient_scale, int64_t threads, int bfloat16_products) {
  return guarded([&] {
    bfloat16_products ? run_updates<bfloat16>(updates, count, gradient_scale, threads)
                      : run_updates<float>(updates, count, gradient_scale, threads);
  });
}

int optimizer_squares(const Update* updates, int64_t count, int64_t threads, double* sum) {
  return guarded([&] { *sum = sum_squares(updates, count, threads); });
}

// Where the packed forms of a layer's weights lie, in numbers: forward and backward of each, then the size of a layer.
void encoder_places(const Shape* shape, int64_t* places) {
  const WeightPlaces own(*shape);
  for (int linear = 0; linear < kLinears; linear++) {
    places[2 * linear] = own.forward[linear];
    places[2 * linear + 1] = own.backward[linear];
  }
  places[2 * kLinears] = own.size;
}

}  // extern "C"
