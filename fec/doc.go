// Package fec cuts a body into stripes of erasure-coded shards and builds it up
// again: any k of a stripe's k+m shards restore it.
//
// Entry points: [GeometryFor] chooses how to cut, [BuildIndex] reads a body once
// and hashes every shard, [EncodeStripe] and [RebuildStripe] go from data to
// shards and back.
//
//	body ──stripes of k shards──► Reed–Solomon ──k+m shards──► SHA-256 each ──► index ──SHA-256──► manifest
//
// Memory is one stripe, whatever the size of the body. The package knows nothing
// of the network: who holds which shard is the business of mesh.
//
// Source: Reed–Solomon over GF(2^8) by klauspost/reedsolomon.
package fec
