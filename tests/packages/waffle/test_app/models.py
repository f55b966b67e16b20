from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from waffle.models import AbstractBaseSample, AbstractBaseSwitch, AbstractUserFlag


class Company(models.Model):
    name = models.CharField(max_length=100)


class CompanyUser(AbstractBaseUser):
    username = models.CharField(max_length=100)
    company = models.ForeignKey(Company, on_delete=models.CASCADE)


class CompanyAwareFlag(AbstractUserFlag):
    """A flag that is on for the users of some companies."""

    companies = models.ManyToManyField(Company, blank=True)

    def is_active_for_user(self, user):
        active = super().is_active_for_user(user)
        if active is None and self.companies.filter(pk=getattr(user, "company_id", None)).exists():
            return True
        return active


class CustomSwitch(AbstractBaseSwitch):
    pass


class CustomSample(AbstractBaseSample):
    pass
