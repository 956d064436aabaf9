import pytest

from tests.docs.pages import PAGES, ROOT


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param
