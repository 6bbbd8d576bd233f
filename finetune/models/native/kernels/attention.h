// Attention within one sentence, forward and backward, head by head in strips of 64 queries.
//
// softmax(scale Q K') V with dropout on the probabilities (Vaswani et al., https://arxiv.org/abs/1706.03762). The
// probabilities are not kept: the backward pass computes them again from the logarithm of each row's sum (Dao et al.,
// FlashAttention, https://arxiv.org/abs/2205.14135), so memory grows with the length, not with its square.
#pragma once
#include <vector>

#include "dropout.h"
#include "products.h"
#include "sums.h"

namespace encoder {

constexpr int64_t kStrip = 64;
constexpr float kHidden = -1e30f;  // a score that has no weight beside any other

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

// The same where a is the transposed of what `lay_across` was given, (depth, rows).
template <class Stored>
inline void combine_across(const Stored* a, int64_t rows, int64_t depth, int64_t size, const Stored* packed, float* target,
                           bool add) {
  const int64_t steps = even(depth), stride = round_up(size, 16);
  for (int64_t row = 0; row < rows; row += kBlock)
    for (int64_t first = 0; first < size; first += kBlock)
      multiply_across(std::min(kBlock, rows - row), block_width(size, first), steps, a, rows, row, packed + first * steps,
                      target + row * stride + first, stride, add);
}

// Rows (rows, size) of float32, round_up(size, 16) apart, become `Stored` rows `stride` apart.
template <class Stored>
inline void store_rows(const float* rows, int64_t count, int64_t size, Stored* target, int64_t stride) {
  for (int64_t r = 0; r < count; r++)
#pragma omp simd
    for (int64_t c = 0; c < size; c++) target[r * stride + c] = from_float<Stored>(rows[r * round_up(size, 16) + c]);
}

// Columns from `tokens` to `length`, less than 16, of a row become `value`: loops over whole vectors need no tail behind
// them.
template <class Number>
inline void fill_padding(Number* row, int64_t tokens, int64_t length, Number value) {
  Number* last = row + length - 16;
  const int64_t kept = tokens - (length - 16);
#pragma omp simd
  for (int64_t c = 0; c < 16; c++) last[c] = c < kept ? last[c] : value;
}

struct Softened {
  float shift, sum;  // the row's logarithm of the sum of exp(scale score) is shift + log(sum)
};

// One row of scores becomes exp(scale score - shift), almost 0 behind `tokens`. `length` is a multiple of 16.
inline Softened raise_row(float* scores, int64_t tokens, int64_t length, float scale) {
  fill_padding(scores, tokens, length, kHidden);
  const float shift = highest_of(scores, length) * scale;
#pragma omp simd
  for (int64_t c = 0; c < length; c++) scores[c] = fast_exp(scores[c] * scale - shift);
  return {shift, sum_of(scores, length)};
}

// What `raise_row` gave becomes dropped probabilities, 0 behind `tokens`. Two passes over the rows of a strip, because each
// has to wait for its sum, and a processor can wait for several at once.
template <class Stored>
inline void weigh_row(const float* powers, float inverse, int64_t tokens, int64_t length, DropoutStream stream,
                      uint32_t place, Stored* probabilities) {
  if (stream.active()) {
#pragma omp simd
    for (int64_t c = 0; c < length; c++)
      probabilities[c] = from_float<Stored>(stream.drop(powers[c] * inverse, place + uint32_t(c)));
  } else {
#pragma omp simd
    for (int64_t c = 0; c < length; c++) probabilities[c] = from_float<Stored>(powers[c] * inverse);
  }
  fill_padding(probabilities, tokens, length, from_float<Stored>(0.0f));
}

// context (tokens, size), rows `context_stride` apart; log_sums (tokens,), `heads` apart, or null where nothing goes
// backward.
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
    Softened rows[kStrip];
    for (int64_t r = 0; r < queries; r++) rows[r] = raise_row(sums.data() + r * length, head.tokens, length, head.scale);
    for (int64_t r = 0; r < queries; r++)
      weigh_row(sums.data() + r * length, 1.0f / rows[r].sum, head.tokens, length, head.stream,
                uint32_t((first + r) * length), buffers.probabilities.data() + r * length);
    for (int64_t r = 0; log_sums && r < queries; r++) log_sums[(first + r) * heads] = rows[r].shift + std::log(rows[r].sum);
    combine(buffers.probabilities.data(), length, queries, head.tokens, head.size, buffers.values.data(),
            buffers.tile.data(), false);
    store_rows(buffers.tile.data(), queries, head.size, context + first * context_stride, context_stride);
  }
}

// One row of scores becomes its probabilities p, and the gradient of the dropped ones that of p; returns their product.
template <class Stored>
inline float recall_row(float* scores, float* given, int64_t tokens, int64_t length, float scale, float log_sum,
                        DropoutStream stream, uint32_t place, Stored* probabilities) {
  fill_padding(scores, tokens, length, kHidden);
#pragma omp simd
  for (int64_t c = 0; c < length; c++) {
    const float p = fast_exp(scores[c] * scale - log_sum), kept = stream.drop(1.0f, place + uint32_t(c));
    probabilities[c] = from_float<Stored>(p * kept);
    scores[c] = p;
    given[c] *= kept;
  }
  fill_padding(probabilities, tokens, length, from_float<Stored>(0.0f));
  return dot_of(scores, given, length);
}

// Behind it, the gradient of the row's scores: p (g - sum(g p)) scale.
template <class Stored>
inline void differentiate_row(const float* p, const float* given, float product, int64_t tokens, int64_t length, float scale,
                              Stored* score_gradient) {
#pragma omp simd
  for (int64_t c = 0; c < length; c++) score_gradient[c] = from_float<Stored>(p[c] * (given[c] - product) * scale);
  fill_padding(score_gradient, tokens, length, from_float<Stored>(0.0f));
}

template <class Stored>
struct HeadGradients {
  Stored* query;
  Stored* key;
  Stored* value;  // rows as far apart as those of HeadInputs
};

// From the context's gradient `given`, rows `given_stride` apart, to those of queries, keys and values.
template <class Stored>
inline void attend_backward(const HeadInputs<Stored>& head, const Stored* given, int64_t given_stride, const float* log_sums,
                            int64_t heads, HeadGradients<Stored> gradients, AttentionBuffers<Stored>& buffers) {
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
    float products[kStrip];
    for (int64_t r = 0; r < queries; r++)
      products[r] = recall_row(buffers.scores.data() + r * length, buffers.weights.data() + r * length, tokens, length,
                               head.scale, log_sums[(first + r) * heads], head.stream, uint32_t((first + r) * length),
                               buffers.probabilities.data() + r * length);
    for (int64_t r = 0; r < queries; r++)
      differentiate_row(buffers.scores.data() + r * length, buffers.weights.data() + r * length, products[r], tokens, length,
                        head.scale, buffers.score_gradient.data() + r * length);
    combine(buffers.score_gradient.data(), length, queries, tokens, size, buffers.keys.data(), buffers.tile.data(), false);
    store_rows(buffers.tile.data(), queries, size, gradients.query + first * head.stride, head.stride);
    Stored* turned = buffers.turned.data();
    lay_across(buffers.score_gradient.data(), length, queries, tokens, turned, even(queries), 0, 2);
    combine_across(turned, tokens, queries, size, buffers.queries.data(), buffers.key_gradient.data(), first > 0);
    lay_across(buffers.probabilities.data(), length, queries, tokens, turned, even(queries), 0, 2);
    combine_across(turned, tokens, queries, size, buffers.given.data(), buffers.value_gradient.data(), first > 0);
  }
  store_rows(buffers.key_gradient.data(), tokens, size, gradients.key, head.stride);
  store_rows(buffers.value_gradient.data(), tokens, size, gradients.value, head.stride);
}

}  // namespace encoder
