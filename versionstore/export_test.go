package versionstore

// OnSync makes b call fn with each path that b syncs.
func (b *FileBlobs) OnSync(fn func(path string)) {
	next := b.sync
	b.sync = func(path string) error {
		fn(path)
		return next(path)
	}
}
