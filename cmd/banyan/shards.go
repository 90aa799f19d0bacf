package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banyan/record"
)

// shardsOf is what `banyan shards` prints.
type shardsOf struct {
	Config   string        `json:"config"`
	Version  uint64        `json:"version"`
	BodySize int64         `json:"body_size"`
	Forms    []formShards  `json:"forms"`
	Regions  []regionHolds `json:"regions"`
}

type formShards struct {
	record.Form
	Stripes int64 `json:"stripes"`
	Shards  int   `json:"shards"` // parity among them
}

// regionHolds says who of a region holds all of a version's shards.
type regionHolds struct {
	Region string `json:"region"`
	Named  bool   `json:"named"` // its pointer names the version
	Agents int    `json:"agents"`
	Hold   uint64 `json:"hold"` // agents that have said so
	Failed uint64 `json:"failed"`
}

func newShards(a *app) *cobra.Command {
	var number uint64
	cmd := &cobra.Command{
		Use:   "shards CONFIG",
		Short: "Show how a version is cut into shards, and who holds it",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			v, err := client.Version(cmd.Context(), args[0], number)
			if err != nil {
				return err
			}
			out := shardsOf{Config: args[0], Version: v.Manifest.Version, BodySize: v.BodySize}
			for _, f := range v.Forms {
				out.Forms = append(out.Forms, formShards{f, f.Geometry.Stripes(f.Size), f.Geometry.Shards(f.Size)})
			}
			s, err := client.ConfigStatus(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, r := range s.Regions {
				h := regionHolds{Region: r.Region, Agents: r.Agents, Named: r.Version == v.Manifest.Version}
				if h.Named {
					h.Hold, h.Failed = r.Applied, uint64(r.Failed)
				}
				out.Regions = append(out.Regions, h)
			}
			return a.print(out, out.text)
		},
	}
	cmd.Flags().Uint64Var(&number, "version", 0, "version to show (default the last)")
	return cmd
}

func (s *shardsOf) text(w io.Writer) {
	fmt.Fprintf(w, "%s version %d: %d bytes\n", s.Config, s.Version, s.BodySize)
	fmt.Fprintln(w, "FORM\tENCODING\tBASE\tSIZE\tSTRIPES\tDATA+PARITY\tSHARD BYTES\tSHARDS")
	for i, f := range s.Forms {
		base := "-"
		if f.Base != 0 {
			base = fmt.Sprint(f.Base)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d+%d\t%d\t%d\n", i, f.Encoding, base, f.Size, f.Stripes, f.Geometry.Data, f.Geometry.Parity, f.Geometry.ShardBytes, f.Shards)
	}
	fmt.Fprintln(w, "REGION\tHELD BY\tAGENTS\tFAILED")
	for _, r := range s.Regions {
		if !r.Named {
			fmt.Fprintf(w, "%s\tits pointer names another version\t%d\t-\n", r.Region, r.Agents)
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", r.Region, r.Hold, r.Agents, r.Failed)
	}
}
