// Attention within one sentence, forward and backward, head by head in strips of 64 queries.
//
// softmax(scale Q K') V with dropout on the probabilities (Vaswani et al., https://arxiv.org/abs/1706.03762). The probabilities
// are not kept: the backward pass computes them again from the logarithm of each row's sum (Dao et al., FlashAttention,
// https://arxiv.org/abs/2205.14135), so memory grows with the length, not with its square.
#pragma once
#include <vector>

#include "dropout.h"
#include "products.h"

namespace encoder {

constexpr int64_t kStrip = 64;

// Where one head of one sentence lies: rows of queries, keys and values are `stride` apart.
template <class Stored>
struct HeadInputs {
  const Stored* query;
  const Stored* key;
  const Stored* value;
  int64_t stride;
  int64_t tokens;
  int64_t size;  // of the head
  float scale;
  DropoutStream stream;
};

// Buffers of one thread for sentences up to `longest` tokens.
template <class Stored>
struct AttentionBuffers {
  std::vector<float> scores, weights, tile, key_gradient, value_gradient;
  std::vector<Stored> keys, values, keys_across, queries, given, probabilities, score_gradient, turned;

  AttentionBuffers(int64_t longest, int64_t size, bool backward) {
    const int64_t length = round_up(longest, 16), wide = round_up(size, 16);
    scores.resize(kStrip * length);
    tile.resize(kStrip * kBlock);
    keys.resize(length * wide);
    values.resize(length * wide);
    probabilities.resize(kStrip * length);
    if (!backward) return;
    weights.resize(kStrip * length);
    for (auto* sums : {&key_gradient, &value_gradient}) sums->resize(length * wide);
    for (auto* packed : {&keys_across, &queries, &given}) packed->resize(std::max(length, kStrip) * wide);
    score_gradient.resize(kStrip * length);
    turned.resize(kStrip * length);
  }
};

// scores (queries, length) = a (queries, size) times the packed transposed rows of all tokens.
template <class Stored>
inline void score(const Stored* a, int64_t a_stride, int64_t queries, const HeadInputs<Stored>& head, const Stored* packed,
                  float* scores, int64_t length) {
  for (int64_t first = 0; first < head.tokens; first += kBlock)
    multiply(queries, block_width(head.tokens, first), even(head.size), a, a_stride, packed + first * even(head.size),
             scores + first, length, false);
}

// target (rows, size) += or = a (rows, depth) times a packed (depth, size); target rows are round_up(size, 16) apart.
template <class Stored>
inline void combine(const Stored* a, int64_t a_stride, int64_t rows, int64_t depth, int64_t size, const Stored* packed,
                    float* target, bool add) {
  for (int64_t first = 0; first < size; first += kBlock)
    multiply(rows, block_width(size, first), even(depth), a, a_stride, packed + first * even(depth), target + first,
             round_up(size, 16), add);
}

// Rows (rows, size) of float32, round_up(size, 16) apart, become `Stored` rows `stride` apart.
template <class Stored>
inline void store_rows(const float* rows, int64_t count, int64_t size, Stored* target, int64_t stride) {
  for (int64_t r = 0; r < count; r++)
#pragma omp simd
    for (int64_t c = 0; c < size; c++) target[r * stride + c] = from_float<Stored>(rows[r * round_up(size, 16) + c]);
}

// One row of scores becomes dropped probabilities; returns the logarithm of the sum of exp(scale score).
template <class Stored>
inline float soften_row(const float* scores, int64_t tokens, int64_t length, float scale, DropoutStream stream,
                        uint32_t place, float* powers, Stored* probabilities) {
  float highest = scores[0] * scale, sum = 0;
#pragma omp simd reduction(max : highest)
  for (int64_t c = 0; c < tokens; c++) highest = scores[c] * scale > highest ? scores[c] * scale : highest;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < tokens; c++) {
    powers[c] = fast_exp(scores[c] * scale - highest);
    sum += powers[c];
  }
  const float inverse = 1.0f / sum;
  if (stream.active()) {
#pragma omp simd
    for (int64_t c = 0; c < tokens; c++)
      probabilities[c] = from_float<Stored>(stream.drop(powers[c] * inverse, place + uint32_t(c)));
  } else {
#pragma omp simd
    for (int64_t c = 0; c < tokens; c++) probabilities[c] = from_float<Stored>(powers[c] * inverse);
  }
  for (int64_t c = tokens; c < length; c++) probabilities[c] = from_float<Stored>(0.0f);
  return highest + std::log(sum);
}

// context (tokens, size), rows `context_stride` apart; log_sums (tokens,), `heads` apart, or null where nothing goes backward.
template <class Stored>
inline void attend(const HeadInputs<Stored>& head, Stored* context, int64_t context_stride, float* log_sums, int64_t heads,
                   AttentionBuffers<Stored>& buffers) {
  const int64_t length = round_up(head.tokens, 16), wide = round_up(head.size, 16);
  pack_transposed(head.key, head.stride, head.size, head.tokens, buffers.keys.data());
  pack(head.value, head.stride, head.tokens, head.size, buffers.values.data());
  std::vector<float>& sums = buffers.scores;
  if (int64_t(buffers.tile.size()) < kStrip * wide) buffers.tile.resize(kStrip * wide);
  for (int64_t first = 0; first < head.tokens; first += kStrip) {
    const int64_t queries = std::min(kStrip, head.tokens - first);
    score(head.query + first * head.stride, head.stride, queries, head, buffers.keys.data(), sums.data(), length);
    for (int64_t r = 0; r < queries; r++) {
      float* row = sums.data() + r * length;
      const float log_sum = soften_row(row, head.tokens, length, head.scale, head.stream,
                                       uint32_t((first + r) * length), row, buffers.probabilities.data() + r * length);
      if (log_sums) log_sums[(first + r) * heads] = log_sum;
    }
    combine(buffers.probabilities.data(), length, queries, head.tokens, head.size, buffers.values.data(),
            buffers.tile.data(), false);
    store_rows(buffers.tile.data(), queries, head.size, context + first * context_stride, context_stride);
  }
}

// One row: from scores and the gradient of the dropped probabilities to those probabilities and the scores' gradient
// p (g - sum(g p)) scale. `scores` and `given` are written over.
template <class Stored>
inline void soften_row_backward(float* scores, float* given, int64_t tokens, int64_t length, float scale, float log_sum,
                                DropoutStream stream, uint32_t place, Stored* probabilities, Stored* score_gradient) {
  float product = 0;
#pragma omp simd reduction(+ : product)
  for (int64_t c = 0; c < tokens; c++) {
    const float p = fast_exp(scores[c] * scale - log_sum);
    const float kept = stream.drop(1.0f, place + uint32_t(c)), g = given[c] * kept;
    probabilities[c] = from_float<Stored>(p * kept);
    product += g * p;
    scores[c] = p;
    given[c] = g;
  }
#pragma omp simd
  for (int64_t c = 0; c < tokens; c++)
    score_gradient[c] = from_float<Stored>(scores[c] * (given[c] - product) * scale);
  for (int64_t c = tokens; c < length; c++) probabilities[c] = score_gradient[c] = from_float<Stored>(0.0f);
}

template <class Stored>
struct HeadGradients {
  Stored* query;
  Stored* key;
  Stored* value;  // rows as far apart as those of HeadInputs
};

// From the context's gradient `given`, rows `given_stride` apart, to those of queries, keys and values.
template <class Stored>
inline void attend_backward(const HeadInputs<Stored>& head, const Stored* given, int64_t given_stride, const float* log_sums, int64_t heads, HeadGradients<Stored> gradients,
                            AttentionBuffers<Stored>& buffers) {
  const int64_t tokens = head.tokens, size = head.size, length = round_up(tokens, 16), wide = round_up(size, 16);
  pack_transposed(head.key, head.stride, size, tokens, buffers.keys_across.data());
  pack_transposed(head.value, head.stride, size, tokens, buffers.values.data());
  pack(head.key, head.stride, tokens, size, buffers.keys.data());
  if (int64_t(buffers.tile.size()) < kStrip * wide) buffers.tile.resize(kStrip * wide);
  for (int64_t first = 0; first < tokens; first += kStrip) {
    const int64_t queries = std::min(kStrip, tokens - first);
    const Stored* query = head.query + first * head.stride;
    const Stored* given_rows = given + first * given_stride;
    pack(query, head.stride, queries, size, buffers.queries.data());
    pack(given_rows, given_stride, queries, size, buffers.given.data());
    score(query, head.stride, queries, head, buffers.keys_across.data(), buffers.scores.data(), length);
    score(given_rows, given_stride, queries, head, buffers.values.data(), buffers.weights.data(), length);
    for (int64_t r = 0; r < queries; r++) {
      const int64_t row = first + r;
      soften_row_backward(buffers.scores.data() + r * length, buffers.weights.data() + r * length, tokens, length,
                          head.scale, log_sums[row * heads], head.stream, uint32_t(row * length),
                          buffers.probabilities.data() + r * length, buffers.score_gradient.data() + r * length);
    }
    combine(buffers.score_gradient.data(), length, queries, tokens, size, buffers.keys.data(), buffers.tile.data(), false);
    store_rows(buffers.tile.data(), queries, size, gradients.query + first * head.stride, head.stride);
    Stored* turned = buffers.turned.data();  // (tokens, queries)
    transpose_matrix(buffers.score_gradient.data(), length, queries, tokens, turned, kStrip);
    combine(turned, kStrip, tokens, queries, size, buffers.queries.data(), buffers.key_gradient.data(), first > 0);
    transpose_matrix(buffers.probabilities.data(), length, queries, tokens, turned, kStrip);
    combine(turned, kStrip, tokens, queries, size, buffers.given.data(), buffers.value_gradient.data(), first > 0);
  }
  store_rows(buffers.key_gradient.data(), tokens, size, gradients.key, head.stride);
  store_rows(buffers.value_gradient.data(), tokens, size, gradients.value, head.stride);
}

}  // namespace encoder
