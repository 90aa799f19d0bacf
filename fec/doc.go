// Package fec cuts a form of a body into stripes of erasure-coded shards, and restores the
// form from shards: any k of the k+m shards of a stripe restore the stripe.
//
//	form ──stripes of k shards──► Reed–Solomon ──k+m shards──► SHA-256 each ──► index ──SHA-256──► manifest
//
// Entry points: [GeometryFor] chooses the sizes, [BuildIndex] reads a form once and hashes
// every shard, and a [File] is a form on disk that may be incomplete. A File takes shards in
// any order and serves every shard that it has or can make.
//
// Shards are numbered by stripe; in a stripe, the data shards come first.
//
// Promises: memory is a few stripes for a form of any size. A shard whose hash is not in the
// index is neither stored nor served. Which host holds which shard is the business of mesh.
//
// Source: Reed–Solomon over GF(2^8) by klauspost/reedsolomon.
package fec
