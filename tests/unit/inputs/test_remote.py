"""Files of an S3 server and of a web server, both on this machine."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from meritorder import bills
from meritorder.errors import InputError, TraceError
from meritorder.inputs.places import ScratchFolder, locate
from meritorder.inputs.remote import expand
from meritorder.traces.read import read_trace

TEXT = "arrived_s,input_tokens,output_tokens\n0,{0},1\n9,{0},1\n"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "site"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


_GOOGLE_LIST = (
    "<ListBucketResult><Name>logs</Name><IsTruncated>false</IsTruncated><Contents><Key>2026/day 1.csv</Key>"
    '<LastModified>2026-11-02T09:00:00.000Z</LastModified><ETag>"1"</ETag><Size>9</Size></Contents></ListBucketResult>'
)
_AZURE_LIST = (
    '<EnumerationResults ContainerName="logs"><Blobs><Blob><Name>2026/day 1.csv</Name><Properties>'
    "<Last-Modified>Mon, 02 Nov 2026 09:00:00 GMT</Last-Modified><Etag>1</Etag><Content-Length>9</Content-Length>"
    "<Content-Type>text/csv</Content-Type>"
    "<BlobType>BlockBlob</BlobType></Properties></Blob></Blobs><NextMarker/></EnumerationResults>"
)


class _Store(http.server.BaseHTTPRequestHandler):
    """Answers as Google Cloud Storage and Azure Blob Storage do, with one object."""

    def do_GET(self) -> None:
        listed = _GOOGLE_LIST if "list-type=2" in self.path else _AZURE_LIST if "comp=list" in self.path else ""
        body = (listed or TEXT.format(1)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 02 Nov 2026 09:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point gs:// and az:// to a server on this machine, by the environment that obstore reads."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Store) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        account = {
            "gcs_base_url": url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
        monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
        monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", url)
        yield
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3 = pytest.importorskip("boto3")
        boto3.client("s3").create_bucket(Bucket="logs")
        store = from_url("s3://logs", client_options={"allow_http": True})
        for day in (1, 2):
            obstore.put(store, f"2026/day {day}.csv", TEXT.format(day).encode())
        obstore.put(store, "2026/notes.txt", b"none")
        obstore.put(store, "packed.csv.gz", gzip.compress(TEXT.format(7).encode()))
        yield "s3://logs"
    server.stop()


def test_objects_are_read(bucket: str) -> None:
    trace = read_trace(f"{bucket}/packed.csv.gz")
    assert trace.requests["input_tokens"].to_list() == [7, 7]
    assert trace.report.files == (f"{bucket}/packed.csv.gz",)


def test_globs_and_folders_of_a_bucket(bucket: str) -> None:
    assert read_trace(f"{bucket}/2026/*.csv").requests["input_tokens"].to_list() == [1, 2, 1, 2]
    assert list(expand(f"{bucket}/2026/", suffixes=(".txt",))) == [f"{bucket}/2026/notes.txt"]
    scratch = ScratchFolder()
    files = list(locate(f"{bucket}/2026/", scratch, suffixes=(".csv",)))
    assert [file.path.read_text() for file in files] == [TEXT.format(1), TEXT.format(2)]


@pytest.mark.parametrize("name", ["none.csv", "none/*.csv"])
def test_missing_objects_are_named(bucket: str, name: str) -> None:
    with pytest.raises(TraceError, match="no such file; name an object, or a glob over objects"):
        read_trace(f"{bucket}/{name}")


@pytest.mark.usefixtures("bucket")
def test_refusals_of_a_store_name_the_remedy() -> None:
    with pytest.raises(TraceError, match=r"s3://nobody/x\.csv: .*AWS_ACCESS_KEY_ID|no such file") as caught:
        read_trace("s3://nobody/x.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("clouds")
@pytest.mark.parametrize("scheme", ["gs", "az"])
@pytest.mark.parametrize("name", ["2026/day 1.csv", "2026/*.csv"])
def test_other_clouds_are_read(scheme: str, name: str) -> None:
    trace = read_trace([f"{scheme}://logs/{name}"])
    assert trace.requests["input_tokens"].to_list() == [1, 1]
    assert trace.report.files == (f"{scheme}://logs/2026/day 1.csv",)


def test_web_files_are_read(site: tuple[str, Path]) -> None:
    url, folder = site
    (folder / "a.csv").write_text(TEXT.format(5))
    assert read_trace(f"{url}/a.csv?signature=x%2Fy").requests["input_tokens"].to_list() == [5, 5]
    with pytest.raises(TraceError, match=r"b\.csv: cannot be read \(404 File not found\)"):
        read_trace(f"{url}/b.csv")
    with pytest.raises(TraceError, match=r"cannot be read \(.*refused"):
        read_trace("http://127.0.0.1:1/a.csv")


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"files of ftp:// cannot be read; use a path, or https://, s3://, gs://, az://"
    ):
        list(expand("ftp://host/file"))


def test_bills_are_read_from_a_bucket(bucket: str) -> None:
    bill = (
        "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory\n"
        "12.5,12.5,USD,2026-10-01T00:00:00Z,2026-10-02T00:00:00Z,Usage\n"
    )
    store = from_url(bucket, client_options={"allow_http": True})
    for month in ("09", "10"):
        obstore.put(store, f"bills/2026-{month}/part.csv", bill.replace("2026-10", f"2026-{month}").encode())
    read = bills.read(f"{bucket}/bills/")
    assert read.report.billed_usd == 25
    assert read.charges.collect().height == 2, "the copies are there as long as the bill"
    assert [file.name for file in read.report.files] == [f"{bucket}/bills/2026-{m}/part.csv" for m in ("09", "10")]
