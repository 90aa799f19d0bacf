// Package fec cuts a form of a body into stripes of erasure-coded shards and builds
// it up again: any k of a stripe's k+m shards restore it.
//
//	form ──stripes of k shards──► Reed–Solomon ──k+m shards──► SHA-256 each ──► index ──SHA-256──► manifest
//
// Entry points: [GeometryFor] chooses how to cut, [BuildIndex] reads a form once and
// hashes every shard, and a [File] is a form on disk, whole or not yet: it takes
// shards in any order, and gives any that it has or can make.
//
// Shards are numbered stripe after stripe, in each the data shards first.
//
// Promises: memory is a few stripes, whatever the size of the form; a shard that does
// not hash to what the index says is neither stored nor given away. The package knows
// nothing of the network: who holds which shard is the business of mesh.
//
// Source: Reed–Solomon over GF(2^8) by klauspost/reedsolomon.
package fec
