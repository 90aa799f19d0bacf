package agent

import (
	"context"
	"io"
	"os"

	"banyan/fec"
	"banyan/record"
)

// library gives a body.Server the versions in the output directory. It implements
// body.Library.
type library struct{ output *outputDir }

// Manifest implements body.Library.
func (l library) Manifest(_ context.Context, v record.VersionKey) (record.Manifest, []byte, error) {
	return l.output.version(v).manifest()
}

// Forms implements body.Library.
func (l library) Forms(m record.Manifest) uint8 { return l.dir(m).forms(m) }

// OpenForm implements body.Library.
func (l library) OpenForm(_ context.Context, m record.Manifest, n uint8) (io.ReadCloser, error) {
	return l.dir(m).openForm(m, n)
}

// OpenBody implements body.Library.
func (l library) OpenBody(_ context.Context, m record.Manifest) (io.ReadCloser, error) {
	return l.dir(m).open()
}

func (l library) dir(m record.Manifest) versionDir {
	return l.output.version(m.Key())
}

// load opens a form, to serve shards. It is a shardstore.Loader.
func (l library) load(key record.FormKey) (*os.File, record.Form, fec.Index, error) {
	return l.output.version(key.VersionKey).load(key.Form)
}
