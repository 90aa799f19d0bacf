package fec_test

import (
	"bytes"
	"fmt"
	"os"

	"banyan/fec"
	"banyan/record"
)

// A form is cut into shards. A file that receives any 10 of the 14 shards of a stripe restores
// the whole form.
func Example() {
	body := bytes.Repeat([]byte("all is well\n"), 5000)
	form, index, err := fec.FormOf(body)
	if err != nil {
		fmt.Println(err)
		return
	}
	g := form.Geometry
	fmt.Printf("%d bytes: %d stripe of %d+%d shards of %d bytes\n", form.Size, g.Stripes(form.Size), g.Data, g.Parity, g.ShardBytes)
	source, err := fileOf(body, form, index, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	sink, err := fileOf(nil, form, index, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sink.Close()
	shard := make([]byte, g.ShardBytes)
	for n := 4; n < 14; n++ { // the first four shards are lost
		if err := source.Get(n, shard); err != nil {
			fmt.Println(err)
			return
		}
		restored, err := sink.Put(n, shard)
		if err != nil {
			fmt.Println(err)
			return
		}
		if restored != nil {
			fmt.Println("restored:", restored)
		}
	}
	fmt.Println("whole:", sink.Whole(), sink.Finish())
	// Output:
	// 60000 bytes: 1 stripe of 10+4 shards of 6000 bytes
	// restored: [0 1 2 3]
	// whole: true <nil>
}

// fileOf makes a File of a temporary file that has been deleted already.
func fileOf(content []byte, form record.Form, index fec.Index, complete bool) (*fec.File, error) {
	f, err := os.CreateTemp("", "fec")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if _, err := f.Write(content); err != nil {
		return nil, err
	}
	return fec.NewFile(f, form, index, complete)
}

// The geometry depends on the size of a form.
func ExampleGeometryFor() {
	for _, size := range []int64{10 << 10, 1 << 20, 64 << 20, 512 << 20} {
		g := fec.GeometryFor(size)
		fmt.Printf("%9d bytes: %d+%d shards of %d bytes\n", size, g.Data, g.Parity, g.ShardBytes)
	}
	// Output:
	//     10240 bytes: 1+0 shards of 10240 bytes
	//   1048576 bytes: 10+4 shards of 32768 bytes
	//  67108864 bytes: 10+4 shards of 65536 bytes
	// 536870912 bytes: 10+4 shards of 131072 bytes
}
